//! `otlp`: how what OpenTelemetry sends becomes series.

use super::record::Record;

/// What becomes of names. COMPAT: the four that Prometheus has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TranslationStrategy {
    /// Other characters become underscores; units and types are told by suffixes.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Other characters become underscores.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay; units and types are told by suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names stay.
    NoTranslation,
}

/// The section, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtlpConfig {
    /// `promote_all_resource_attributes`
    pub promotes_all: bool,
    /// `promote_resource_attributes`, or `ignore_resource_attributes` where all are promoted.
    pub attributes: Vec<String>,
    /// `translation_strategy`
    pub strategy: TranslationStrategy,
    /// `keep_identifying_resource_attributes`
    pub keeps_identifying: bool,
    /// `convert_histograms_to_nhcb`
    pub converts_histograms: bool,
    /// `promote_scope_metadata`
    pub promotes_scope: bool,
    /// `label_name_underscore_sanitization`
    pub puts_key_before_underscore: bool,
    /// `label_name_preserve_multiple_underscores`
    pub keeps_underscores: bool,
}

impl OtlpConfig {
    pub(super) fn of(section: Option<&Record>) -> Self {
        let Some(section) = section else {
            let (puts_key_before_underscore, keeps_underscores) = (true, true);
            return Self { puts_key_before_underscore, keeps_underscores, ..Self::default() };
        };
        let promotes_all = section.flag("promote_all_resource_attributes");
        let list =
            if promotes_all { "ignore_resource_attributes" } else { "promote_resource_attributes" };
        let strategy = match section.text("translation_strategy") {
            "UnderscoreEscapingWithoutSuffixes" => {
                TranslationStrategy::UnderscoreEscapingWithoutSuffixes
            }
            "NoUTF8EscapingWithSuffixes" => TranslationStrategy::NoUtf8EscapingWithSuffixes,
            "NoTranslation" => TranslationStrategy::NoTranslation,
            _ => TranslationStrategy::UnderscoreEscapingWithSuffixes,
        };
        Self {
            promotes_all,
            attributes: section.texts(list).iter().map(|name| name.trim().to_owned()).collect(),
            strategy,
            keeps_identifying: section.flag("keep_identifying_resource_attributes"),
            converts_histograms: section.flag("convert_histograms_to_nhcb"),
            promotes_scope: section.flag("promote_scope_metadata"),
            puts_key_before_underscore: section.flag("label_name_underscore_sanitization"),
            keeps_underscores: section.flag("label_name_preserve_multiple_underscores"),
        }
    }
}
