//! Whether the files of a configuration are still those that were read: a checksum over the main
//! file and over those with rules and jobs that it names.
//!
//! COMPAT: other files that a configuration names (targets, passwords, certificates) are read
//! anew where they are used and do not count. Which files there are counts too, so that one more
//! behind a pattern is seen.

use std::path::Path;

use ring::digest::{Context, SHA256};

use super::error::{Complaint, ConfigError};
use super::glob::matching_files;
use super::load::{join, read};
use super::yaml::{self, Node, NodeValue};

/// What tells a set of files from another: SHA-256 over their names and contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The fingerprint of the configuration at `path` as it lies there now. The error names the file
/// that cannot be read.
pub fn fingerprint(path: &Path) -> Result<Fingerprint, ConfigError> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    let mut context = Context::new(&SHA256);
    add(&mut context, "config", &name, text.as_bytes());
    let folder = path.parent().unwrap_or(Path::new(""));
    let root = yaml::parse(&text).map_err(|complaint: Complaint| complaint.in_file(&name))?;
    for key in ["rule_files", "scrape_config_files"] {
        for mut pattern in root.as_ref().map(|root| patterns(root, key)).unwrap_or_default() {
            join(&mut pattern, folder);
            for file in matching_files(&pattern) {
                let name = file.display().to_string();
                let bytes = std::fs::read(&file).map_err(|error| ConfigError {
                    file: name.clone(),
                    line: 0,
                    column: 0,
                    message: format!("open: {error}"),
                })?;
                add(&mut context, key, &name, &bytes);
            }
        }
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    Ok(Fingerprint(sum))
}

/// Lengths stand before what they measure, so that no two lists of files give the same bytes.
fn add(context: &mut Context, key: &str, name: &str, content: &[u8]) {
    for part in [key.as_bytes(), name.as_bytes(), content] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
}

/// The texts of a list at the top of the file; whatever else stands there names no files.
fn patterns(root: &Node, key: &str) -> Vec<String> {
    let text = |node: &Node| match &node.value {
        NodeValue::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    };
    let NodeValue::Map(fields) = &root.value else { return Vec::new() };
    let field = fields.iter().find(|(name, _)| text(name).as_deref() == Some(key));
    match field.map(|(_, list)| &list.value) {
        Some(NodeValue::List(items)) => items.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_configuration_counts_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        let main = folder.path().join("prometheus.yml");
        let now = || fingerprint(&main).unwrap();
        write("prometheus.yml", "rule_files: [r-*.yml]\nscrape_config_files: [s.yml]\n").unwrap();
        let mut seen = vec![now()];
        assert_eq!(seen[0], now());
        for (name, text) in [
            ("r-1.yml", "groups: []"),
            ("r-1.yml", "groups:  []"),
            ("r-2.yml", ""),
            ("s.yml", "scrape_configs: []"),
            ("prometheus.yml", "rule_files: [r-*.yml]\n"),
        ] {
            write(name, text).unwrap();
            assert!(!seen.contains(&now()), "{name}: {text}");
            seen.push(now());
        }
        write("other.yml", "x").unwrap();
        write("s.yml", "it is not named any more").unwrap();
        assert_eq!(seen.last(), Some(&now()));
        std::fs::rename(folder.path().join("r-2.yml"), folder.path().join("r-3.yml")).unwrap();
        assert!(!seen.contains(&now()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("prometheus.yml");
        assert!(fingerprint(&main).unwrap_err().file.ends_with("prometheus.yml"));
        std::fs::write(&main, "rule_files: [r.yml]\na: [").unwrap();
        assert!(fingerprint(&main).is_err());
        std::fs::write(&main, "rule_files: [r.yml]").unwrap();
        std::fs::create_dir(folder.path().join("r.yml")).unwrap();
        assert!(fingerprint(&main).unwrap_err().file.ends_with("r.yml"));
        for text in ["", "[]", "rule_files: x", "rule_files: [[a], {b: c}]"] {
            std::fs::write(&main, text).unwrap();
            fingerprint(&main).unwrap();
        }
    }
}
