//! One relabelling rule and labels to apply it to, line by line: action, source labels, separator,
//! regular expression, modulus, target label, replacement, then a label in each line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::model::{Labels, LabelsBuilder, NameScheme};
use narthex::regex::Regex;
use narthex::relabel::{Action, Rule, apply};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or("");
    let Ok(action) = Action::parse(line()) else { return };
    let sources = line();
    let separator = line().to_owned();
    let Ok(regex) = Regex::new(line()) else { return };
    let rule = Rule {
        action,
        source_labels: (!sources.is_empty())
            .then(|| sources.split(',').map(str::to_owned).collect()),
        separator,
        regex,
        modulus: line().parse().unwrap_or(0),
        target_label: line().to_owned(),
        replacement: line().to_owned(),
        name_scheme: if text.len() % 2 == 0 { NameScheme::Utf8 } else { NameScheme::Legacy },
    };
    if rule.validate().is_err() {
        return;
    }
    let pairs = lines.filter_map(|line| line.split_once('='));
    let before = Labels::from_pairs(pairs.filter(|(name, _)| rule.name_scheme.is_label_name(name)));
    let mut builder = LabelsBuilder::from_labels(&before);
    let keeps = apply(std::slice::from_ref(&rule), &mut builder);
    let after = builder.build();
    match action {
        Action::Keep | Action::Drop | Action::KeepEqual | Action::DropEqual => {
            assert_eq!(before, after);
        }
        _ => assert!(keeps),
    }
    // Names that a mapping makes are not checked here, but where they are stored.
    if action != Action::LabelMap {
        assert!(after.iter().all(|(name, _)| rule.name_scheme.is_label_name(name)));
    }
    if matches!(action, Action::LabelDrop | Action::LabelKeep) {
        assert!(after.iter().all(|(name, value)| before.get(name) == Some(value)));
    }
});
