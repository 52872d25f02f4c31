//! The address under which others reach this server: `--web.external-url`.

use super::url;

/// COMPAT: hosts that mean this machine to whoever reads them.
const LOCAL_HOSTS: [&str; 4] = ["127.0.0.1", "localhost", "[::1]", "::1"];

/// Scheme, host with port, path without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExternalUrl {
    scheme: String,
    host: String,
    path: String,
}

impl ExternalUrl {
    /// Reads the flag. COMPAT: what is refused, and how the path is trimmed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
            return Err("URL must not begin or end with quotes".to_owned());
        }
        url::check(text)?;
        let parts = url::parts(text);
        let (scheme, host) = (parts.scheme.to_owned(), parts.host.to_owned());
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let rest = if scheme.is_empty() { rest } else { rest.split_at(after_host(rest)).1 };
        let path = rest.split(['?', '#']).next().unwrap_or("").trim_end_matches('/');
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, host, path: format!("{slash}{path}") })
    }

    /// The address where none was given: the machine's name and the port that is listened on.
    pub fn of_host(host_name: &str, port: &str) -> Self {
        Self { scheme: "http".to_owned(), host: format!("{host_name}:{port}"), path: String::new() }
    }

    /// What stands before all paths; empty or beginning with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, or the host alone.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A target's address as others reach it: an address of this machine is replaced by that of
    /// the server, as far as it can be known. `own_port` is the port that is listened on.
    ///
    /// COMPAT: where the port is our own the whole address is ours, elsewhere the host's name is.
    pub fn global(&self, target: &str, own_port: &str) -> String {
        let Some((scheme, rest)) = target.split_once("://") else { return target.to_owned() };
        let (address, path) = rest.split_at(after_host(rest));
        let Some((host, port)) = address.rsplit_once(':') else { return target.to_owned() };
        if !LOCAL_HOSTS.contains(&host) {
            return target.to_owned();
        }
        if port == own_port {
            return format!("{}://{}{path}", self.scheme, self.host);
        }
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        format!("{scheme}://{name}:{port}{path}")
    }
}

impl std::fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, path } = self;
        let separator = if scheme.is_empty() { "" } else { "://" };
        write!(f, "{scheme}{separator}{host}{path}")
    }
}

fn after_host(rest: &str) -> usize {
    rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_prometheus_reads_them() {
        for (text, path, shown) in [
            ("http://a.example:9090/prom/", "/prom", "http://a.example:9090/prom"),
            ("https://a.example", "", "https://a.example"),
            ("https://a.example//", "", "https://a.example"),
            ("/prom/x", "/prom/x", "/prom/x"),
            ("prom", "/prom", "/prom"),
            ("http://a/x?y=z", "/x", "http://a/x"),
        ] {
            let url = ExternalUrl::parse(text).unwrap();
            assert_eq!((url.path(), url.to_string().as_str()), (path, shown), "{text}");
        }
        for text in ["\"http://a\"", "http://a:b", "http://a/%zz", "'x"] {
            assert!(ExternalUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn local_targets_are_shown_under_the_servers_name() {
        let url = ExternalUrl::parse("https://prom.example:443/p").unwrap();
        for (target, shown) in [
            ("http://localhost:9090/metrics", "https://prom.example:443/metrics"),
            ("http://127.0.0.1:9100/metrics", "http://prom.example:9100/metrics"),
            ("http://[::1]:9100/metrics", "http://prom.example:9100/metrics"),
            ("http://db:9100/metrics", "http://db:9100/metrics"),
            ("http://localhost/metrics", "http://localhost/metrics"),
        ] {
            assert_eq!(url.global(target, "9090"), shown, "{target}");
        }
        let of_host = ExternalUrl::of_host("box", "9090");
        assert_eq!(of_host.global("http://localhost:1/m", "9090"), "http://box:1/m");
        assert_eq!(of_host.to_string(), "http://box:9090");
    }
}
