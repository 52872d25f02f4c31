//! The files that AWS's tools share: `~/.aws/credentials` and `~/.aws/config`.

use crate::config::Secret;

/// What a profile says.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    pub(super) session_token: Secret,
    pub(super) region: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

impl Profile {
    /// The profile of that name; the environment's, else the default one, where it is empty.
    pub(super) fn read(name: &str) -> Self {
        let name = [name.to_owned(), variable("AWS_PROFILE"), "default".to_owned()]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        let mut profile = Self::default();
        for (path, file) in
            [("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")]
        {
            let named = variable(path);
            let path =
                if named.is_empty() { format!("{}/.aws/{file}", variable("HOME")) } else { named };
            if let Ok(text) = std::fs::read_to_string(path) {
                profile.add(&text, &name);
            }
        }
        profile
    }

    /// Takes over what the section of that name says and nobody said before.
    fn add(&mut self, text: &str, name: &str) {
        let mut is_ours = false;
        for line in text.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let section = section.trim();
                let section = section.strip_prefix("profile ").unwrap_or(section).trim();
                is_ours = section == name;
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
            let value = value.trim();
            match key.trim() {
                "aws_access_key_id" if self.access_key.is_empty() => {
                    value.clone_into(&mut self.access_key);
                }
                "aws_secret_access_key" if self.secret_key.is_empty() => {
                    self.secret_key = Secret::new(value);
                }
                "aws_session_token" if self.session_token.is_empty() => {
                    self.session_token = Secret::new(value);
                }
                "region" if self.region.is_empty() => value.clone_into(&mut self.region),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_section() {
        let mut profile = Profile::default();
        let text = "[default]\naws_access_key_id = D\n[p]\naws_access_key_id=A\n\
                    aws_secret_access_key = S=\n# x\nregion\n";
        profile.add(text, "p");
        profile.add("[profile p]\nregion = eu-west-1\naws_access_key_id = B\n", "p");
        assert_eq!((profile.access_key.as_str(), profile.region.as_str()), ("A", "eu-west-1"));
        assert_eq!(profile.secret_key.reveal(), "S=");
    }
}
