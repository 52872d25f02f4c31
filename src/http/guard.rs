//! The door: the web configuration file in force, and who is let in by it.
//!
//! The file, and those it names, are looked at with each request and each handshake, and read again
//! when one has changed. INVARIANT: a file that is wrong changes nothing, and no change of a file
//! takes TLS or authentication off a server that was started with it: a file that an editor has
//! just emptied opens no door. Both are logged.

use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use ring::digest;
use rustls::ServerConfig;

use super::access::Access;
use super::passwords::{Busy, Passwords};
use super::{reply, tls};
use crate::config::{ConfigError, RateLimit, WebConfig, WebToken, load_web};

/// A file that was changed less than this before it was read may change again unseen: times of
/// files advance in steps.
const STEP_OF_FILE_TIMES: Duration = Duration::from_millis(50);

/// What is in force.
pub(super) struct Loaded {
    config: WebConfig,
    /// `None`: plain text is spoken.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// What every answer carries.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What tells one content of a file from another: inode, length, times of change.
type Stamp = (u64, u64, i64, i64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    let (modified, changed) = (metadata.mtime(), metadata.ctime());
    let (modified_ns, changed_ns) = (metadata.mtime_nsec(), metadata.ctime_nsec());
    (metadata.ino(), metadata.len(), modified, modified_ns, changed, changed_ns)
}

#[derive(Debug, Default)]
struct Seen {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Whether a file may have changed since without a trace.
    is_fresh: bool,
    /// What was logged last.
    complaint: Option<String>,
}

impl Seen {
    fn of(path: &Path, config: &WebConfig) -> Self {
        let named = config.tls.iter().flat_map(tls::paths);
        let paths = std::iter::once(path).chain(named);
        let mut seen = Self::default();
        for path in paths {
            let found = std::fs::metadata(path).ok();
            seen.is_fresh |= found.as_ref().is_some_and(is_fresh);
            seen.files.push((path.to_owned(), found.as_ref().map(stamp)));
        }
        seen
    }

    fn is_unchanged(&self) -> bool {
        !self.is_fresh
            && self
                .files
                .iter()
                .all(|(path, known)| std::fs::metadata(path).ok().as_ref().map(stamp) == *known)
    }
}

fn is_fresh(metadata: &Metadata) -> bool {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = Duration::new(seconds, metadata.ctime_nsec().clamp(0, 999_999_999) as u32);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    changed + STEP_OF_FILE_TIMES > now
}

/// Reads the file at `path` and what it names; what is left out of it is told besides.
fn load(path: &Path) -> Result<(Loaded, Vec<String>), ConfigError> {
    let config = load_web(path)?;
    let file = path.display().to_string();
    let (mut tls, mut warnings) = (None, Vec::new());
    if let Some(options) = &config.tls {
        let material = tls::read_material(options, &file)?;
        let (built, remarks) = tls::build(options, &material, config.http2, &file)?;
        (tls, warnings) = (Some(Arc::new(built)), remarks);
    }
    let headers = config.headers.iter().filter(|(_, value)| !value.is_empty());
    let header = |(name, value): &(String, String)| {
        Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
    };
    let headers = headers.filter_map(header).collect();
    Ok((Loaded { config, tls, headers }, warnings))
}

/// Checks a web configuration file and all that it names. Gives what of it will not be done as
/// written.
pub fn check_web_config(path: &Path) -> Result<Vec<String>, ConfigError> {
    load(path).map(|(_, warnings)| warnings)
}

/// Keeps the door by a web configuration file.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    loaded: RwLock<Arc<Loaded>>,
    seen: Mutex<Seen>,
    passwords: Passwords,
    bucket: Mutex<Bucket>,
}

/// Who is not let in, and how they are told.
pub(super) type Refusal = axum::response::Response;

impl Guard {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let (loaded, warnings) = load(path)?;
        for warning in warnings {
            tracing::warn!(file = %path.display(), "{warning}");
        }
        let seen = Seen::of(path, &loaded.config);
        let passwords = Passwords::new().ok_or_else(|| ConfigError {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            message: "the system gives no random numbers".to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            loaded: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(seen),
            passwords,
            bucket: Mutex::default(),
        })
    }

    /// Whether TLS is spoken.
    pub fn speaks_tls(&self) -> bool {
        self.in_force().tls.is_some()
    }

    fn in_force(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force now: the files, as they are.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.in_force();
        if seen.is_unchanged() {
            return before;
        }
        let was = seen.complaint.take();
        // Looked at before they are read: a change in between is seen next time.
        let mut now = Seen::of(&self.path, &before.config);
        let outcome = load(&self.path).map_err(|error| error.to_string()).and_then(|new| {
            if before.tls.is_some() && new.0.tls.is_none() {
                return Err("taking TLS off needs a restart".to_owned());
            }
            let asks = |loaded: &Loaded| {
                !(loaded.config.users.is_empty() && loaded.config.tokens.is_empty())
            };
            if asks(&before) && !asks(&new.0) {
                return Err("taking authentication off needs a restart".to_owned());
            }
            Ok(new)
        });
        match outcome {
            Ok((loaded, warnings)) => {
                let changed = loaded.config != before.config;
                for warning in warnings.iter().filter(|_| changed) {
                    tracing::warn!(file = %self.path.display(), "{warning}");
                }
                now = Seen { is_fresh: now.is_fresh, ..Seen::of(&self.path, &loaded.config) };
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
            }
            Err(error) => {
                if was.as_deref() != Some(&error) {
                    let file = self.path.display();
                    tracing::error!(%file, err = %error, "The web configuration stays as it was");
                }
                now.complaint = Some(error);
            }
        }
        *seen = now;
        drop(seen);
        self.in_force()
    }

    /// Lets a request in, or says why not.
    pub(super) async fn admit(
        &self,
        loaded: &Loaded,
        peer: IpAddr,
        request: &Parts,
        is_health: bool,
    ) -> Result<Access, Box<Refusal>> {
        if let Some(limit) = loaded.config.rate_limit
            && !is_health
            && !self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(limit)
        {
            return Err(Box::new(reply::text(429, "Too Many Requests\n")));
        }
        let WebConfig { users, tokens, .. } = &loaded.config;
        if users.is_empty() && tokens.is_empty() {
            return Ok(Access::full(""));
        }
        let given = request.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match given.and_then(Credentials::parse) {
            Some(Credentials::Token(token)) => {
                if let Some(token) = find_token(tokens, &token) {
                    return Ok(Access::of_token(&token.name, token.roles, &token.scope));
                }
            }
            Some(Credentials::Password(user, password)) => {
                match self.passwords.is_right(users, peer, &user, &password).await {
                    Ok(true) => return Ok(Access::full(&user)),
                    Ok(false) => {}
                    Err(Busy) => {
                        let text = "too many passwords wait to be checked\n";
                        let mut refusal = reply::text(503, text);
                        refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                        return Err(Box::new(refusal));
                    }
                }
            }
            None => {}
        }
        let mut refusal = reply::text(401, "Unauthorized\n");
        let schemes = refusal.headers_mut();
        if !users.is_empty() {
            schemes.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        if !tokens.is_empty() {
            schemes.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Err(Box::new(refusal))
    }
}

/// What `Authorization` says.
enum Credentials {
    Password(String, Vec<u8>),
    Token(Vec<u8>),
}

impl Credentials {
    fn parse(header: &[u8]) -> Option<Self> {
        let space = header.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = header.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Self::Token(rest.to_vec()));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let pair = STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        let user = String::from_utf8(pair[..colon].to_vec()).ok()?;
        Some(Self::Password(user, pair[colon + 1..].to_vec()))
    }
}

/// The token with that text. All are compared, each to its end.
fn find_token<'a>(tokens: &'a [WebToken], text: &[u8]) -> Option<&'a WebToken> {
    let sum = digest::digest(&digest::SHA256, text);
    let mut found = None;
    for token in tokens {
        let differences = token.sha256.iter().zip(sum.as_ref()).map(|(a, b)| a ^ b);
        if differences.fold(0, |all, bits| all | bits) == 0 {
            found = Some(token);
        }
    }
    found
}

/// A bucket of requests that fills by one each interval.
#[derive(Debug, Default)]
struct Bucket {
    /// When it will be full.
    full_at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, limit: RateLimit) -> bool {
        self.take_at(limit, Instant::now())
    }

    fn take_at(&mut self, limit: RateLimit, now: Instant) -> bool {
        let interval = Duration::from_nanos(limit.interval_ns);
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        let room = interval.saturating_mul(u32::try_from(limit.burst).unwrap_or(u32::MAX));
        let after = full_at + interval;
        if after - now > room {
            return false;
        }
        self.full_at = Some(after);
        true
    }
}

#[cfg(test)]
mod tests;
