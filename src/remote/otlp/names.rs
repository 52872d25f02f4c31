//! Names and units of OpenTelemetry as names of metrics and labels.
//!
//! COMPAT: the rules are those of Prometheus's `otlptranslator` 1.0, with its texts of errors.
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics compatibility".

/// What becomes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// Whether units and types are told by suffixes.
    pub adds_suffixes: bool,
    /// Whether names stay as they are.
    pub allows_utf8: bool,
}

/// How labels are named where names do not stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelNames {
    /// Whether names stay as they are.
    pub allows_utf8: bool,
    /// Whether `key` goes before a name that begins with one underscore.
    pub puts_key_before_underscore: bool,
    /// Whether several underscores stay several.
    pub keeps_underscores: bool,
}

/// What of a metric's kind its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedKind {
    Gauge,
    Counter,
    Other,
}

const UNITS: [(&str, &str); 27] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    ("", ""),
];
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn looked_up<'a>(table: &[(&str, &'static str)], unit: &'a str) -> &'a str
where
    'static: 'a,
{
    table.iter().find(|(known, _)| *known == unit).map_or(unit, |(_, name)| name)
}

/// The unit, and `per_` with what it is divided by; empty where there is none.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let is_unit = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if is_unit(main) { looked_up(&UNITS, main) } else { "" };
    let per =
        if is_unit(per) { format!("per_{}", looked_up(&PER_UNITS, per)) } else { String::new() };
    (main.to_owned(), per)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Other characters become underscores, of which one stands for several, none at the start.
fn cleaned_unit(unit: &str) -> String {
    let mut cleaned = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_name_char(c) {
            cleaned.push(c);
        } else if !cleaned.ends_with('_') {
            cleaned.push('_');
        }
    }
    cleaned.strip_prefix('_').map_or(cleaned.clone(), str::to_owned)
}

/// The unit as metadata and labels tell it.
pub(super) fn unit_name(unit: &str, allows_utf8: bool) -> String {
    let (mut main, mut per) = unit_suffixes(unit);
    if !allows_utf8 {
        (main, per) = (cleaned_unit(&main), cleaned_unit(&per));
    }
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        (true, _) => per,
    };
    let joined = joined.strip_prefix('_').unwrap_or(&joined);
    joined.strip_suffix('_').unwrap_or(joined).to_owned()
}

/// The name of a metric.
pub(super) fn metric_name(
    name: &str,
    unit: &str,
    kind: NamedKind,
    strategy: Strategy,
) -> Result<String, String> {
    if strategy.allows_utf8 && !name.is_empty() {
        return Ok(if strategy.adds_suffixes {
            suffixed(name, unit, kind)
        } else {
            name.to_owned()
        });
    }
    let built = if strategy.adds_suffixes {
        tokens_joined(name, unit, kind)
    } else {
        let parts = name.split(|c: char| !is_name_char(c) && c != '_');
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
    };
    let starts_with_digit = built.starts_with(|c: char| c.is_ascii_digit());
    let built = if starts_with_digit { format!("_{built}") } else { built };
    if built.is_empty() {
        return Err(format!("normalization for metric {name:?} resulted in empty name"));
    }
    if built != name && built.chars().all(|c| c == '_') {
        return Err(format!(
            "normalization for metric {name:?} resulted in invalid name {built:?}"
        ));
    }
    Ok(built)
}

fn tokens_joined(name: &str, unit: &str, kind: NamedKind) -> String {
    let parts = name.split(|c: char| !is_name_char(c)).filter(|part| !part.is_empty());
    let mut tokens: Vec<String> = parts.map(str::to_owned).collect();
    let (main, per) = unit_suffixes(unit);
    let (mut main, per) = (cleaned_unit(&main), cleaned_unit(&per));
    let has = |tokens: &[String], token: &str| tokens.iter().any(|known| known == token);
    if has(&tokens, &main) {
        main.clear();
    }
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if has(&tokens, per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(&main).to_owned();
    }
    tokens.extend([main.as_str(), per].into_iter().filter(|t| !t.is_empty()).map(str::to_owned));
    let last = match kind {
        NamedKind::Counter => "total",
        NamedKind::Gauge if unit == "1" => "ratio",
        _ => return tokens.join("_"),
    };
    tokens.retain(|token| token != last);
    tokens.push(last.to_owned());
    tokens.join("_")
}

/// Suffixes where names stay as they are.
fn suffixed(name: &str, unit: &str, kind: NamedKind) -> String {
    fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
        let is_more = name.len() > suffix.len() + 1;
        // The character before the suffix goes too, whatever it is.
        let cut = name.len().saturating_sub(suffix.len() + 1);
        if name.ends_with(suffix) && is_more && name.is_char_boundary(cut) {
            &name[..cut]
        } else {
            name
        }
    }
    let (main, per) = unit_suffixes(unit);
    let (mut name, mut ends) = (name, Vec::new());
    if unit == "1" && kind == NamedKind::Gauge {
        name = without(name, "ratio");
        ends.push("ratio");
    }
    if kind == NamedKind::Counter {
        name = without(name, "total");
        ends.push("total");
    }
    if !per.is_empty() {
        name = without(name, &per);
        ends.push(&per);
    }
    let mut built = name.to_owned();
    if !main.is_empty() && !built.ends_with(&main) {
        built = built + "_" + &main;
    }
    for end in ends.iter().rev() {
        built = built + "_" + end;
    }
    built
}

/// The name of a label.
pub(super) fn label_name(name: &str, names: LabelNames) -> Result<String, String> {
    let is_blank = |name: &str| name.chars().all(|c| c == '_');
    if name.is_empty() {
        return Err("label name is empty".to_owned());
    }
    if names.allows_utf8 {
        if is_blank(name) {
            return Err(format!("label name {name:?} contains only underscores"));
        }
        return Ok(name.to_owned());
    }
    let mut built = sanitized(name, names.keeps_underscores);
    if built.starts_with(|c: char| c.is_ascii_digit()) {
        built = format!("key_{built}");
    } else if names.puts_key_before_underscore && built.starts_with('_') && !built.starts_with("__")
    {
        built = format!("key{built}");
    }
    if is_blank(&built) {
        return Err(format!(
            "normalization for label name {name:?} resulted in invalid name {built:?}"
        ));
    }
    Ok(built)
}

fn sanitized(name: &str, keeps_underscores: bool) -> String {
    if keeps_underscores {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        return name.chars().map(plain).collect();
    }
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let inner = inner.filter(|_| name.len() >= 4);
    let mut built = String::with_capacity(name.len());
    for c in inner.unwrap_or(name).chars() {
        if c.is_ascii_alphanumeric() {
            built.push(c);
        } else if !built.ends_with('_') {
            built.push('_');
        }
    }
    if inner.is_some() { format!("__{built}__") } else { built }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        let named = |name, unit, kind, adds_suffixes, allows_utf8| {
            metric_name(name, unit, kind, Strategy { adds_suffixes, allows_utf8 })
        };
        for (name, unit, kind, expected) in [
            ("system.io", "By/s", NamedKind::Counter, "system_io_bytes_per_second_total"),
            ("http.requests", "{request}", NamedKind::Counter, "http_requests_total"),
            ("x_total", "", NamedKind::Counter, "x_total"),
            ("load", "1", NamedKind::Gauge, "load_ratio"),
            ("load", "1", NamedKind::Counter, "load_total"),
            ("a__b", "s", NamedKind::Other, "a_b_seconds"),
            ("time.seconds.spent", "s", NamedKind::Other, "time_seconds_spent"),
            ("5xx", "%", NamedKind::Gauge, "_5xx_percent"),
            ("v", "m/s", NamedKind::Gauge, "v_meters_per_second"),
            ("v", "foo.bar", NamedKind::Gauge, "v_foo_bar"),
        ] {
            assert_eq!(named(name, unit, kind, true, false).unwrap(), expected, "{name}");
        }
        assert_eq!(named("a__b.c", "s", NamedKind::Other, false, false).unwrap(), "a__b_c");
        assert_eq!(named("a.b", "s", NamedKind::Counter, false, true).unwrap(), "a.b");
        assert_eq!(
            named("a.b", "By/s", NamedKind::Counter, true, true).unwrap(),
            "a.b_bytes_per_second_total"
        );
        assert_eq!(named("a.total", "", NamedKind::Counter, true, true).unwrap(), "a_total");
        assert!(named("", "", NamedKind::Other, true, false).unwrap_err().contains("empty name"));
        assert!(named("§§", "", NamedKind::Other, false, false).is_err());
    }

    #[test]
    fn labels_are_named_as_prometheus_names_them() {
        let named = |name, keeps_underscores| {
            let names = LabelNames {
                allows_utf8: false,
                puts_key_before_underscore: true,
                keeps_underscores,
            };
            label_name(name, names)
        };
        for (name, kept, collapsed) in [
            ("a.b", "a_b", "a_b"),
            ("a..b", "a__b", "a_b"),
            ("1a", "key_1a", "key_1a"),
            ("_a", "key_a", "key_a"),
            ("__a", "__a", "key_a"),
            ("__a.b__", "__a_b__", "__a_b__"),
        ] {
            assert_eq!(named(name, true).unwrap(), kept, "{name}");
            assert_eq!(named(name, false).unwrap(), collapsed, "{name}");
        }
        assert!(named("", true).is_err() && named("..", true).is_err());
        assert_eq!(unit_name("By/s", false), "bytes_per_second");
        assert_eq!(
            (unit_name("1", false), unit_name("{x}/s", false)),
            (String::new(), "per_second".to_owned())
        );
    }
}
