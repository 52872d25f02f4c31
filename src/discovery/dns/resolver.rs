//! Asking the name servers of `/etc/resolv.conf`: by UDP, by TCP where the answer does not fit.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Message, Record, UDP_BYTES_MAX, parse_message, type_number, write_question};
use crate::config::DnsRecordType;

/// Where the system's settings stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Name servers that are asked, and domains that are tried.
const SERVERS_MAX: usize = 16;

/// Code of a name that does not exist.
const NAME_ERROR: u8 = 3;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// A name with more labels than this is tried as it is before domains are added.
    pub(super) dots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: usize,
}

impl Settings {
    pub(super) fn of_system() -> Result<Self, String> {
        let text = std::fs::read_to_string(RESOLV_CONF)
            .map_err(|error| format!("could not load resolv.conf: {error}"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(2),
            attempts: 2,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    settings.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => {
                    settings.search = words.map(str::to_owned).take(SERVERS_MAX).collect();
                }
                Some("options") => words.for_each(|option| settings.set_option(option)),
                _ => {}
            }
        }
        settings.servers.truncate(SERVERS_MAX);
        if settings.servers.is_empty() {
            settings.servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        settings
    }

    fn set_option(&mut self, option: &str) {
        let Some((name, Ok(number))) =
            option.split_once(':').map(|(name, number)| (name, number.parse::<usize>()))
        else {
            return;
        };
        match name {
            "ndots" => self.dots = number.min(15),
            "timeout" => self.timeout = Duration::from_secs(number.clamp(1, 30) as u64),
            "attempts" => self.attempts = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The names that `name` may stand for, in the order in which they are tried.
    fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let labels = name.split('.').count();
        let as_it_is = format!("{name}.");
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| format!("{as_it_is}{}.", domain.trim_matches('.')))
            .collect();
        let at = if labels > self.dots { 0 } else { names.len() };
        names.insert(at, as_it_is);
        names
    }
}

/// The records of that type at the name, which may lack its domain. None where no name that it
/// may stand for exists; an error where that cannot be known.
pub(super) async fn look_up(
    settings: &Settings,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Vec<Record>, String> {
    let mut is_sure = true;
    for candidate in settings.names(name) {
        match ask_any(settings, &candidate, record_type).await {
            Some(message) if message.code == 0 => return Ok(message.answers),
            Some(_) => {}
            None => is_sure = false,
        }
    }
    if is_sure {
        return Ok(Vec::new());
    }
    Err(format!(
        "could not resolve {name:?}: all servers responded with errors to at least one search \
         domain"
    ))
}

/// The first answer of a server that knows whether the name exists.
async fn ask_any(settings: &Settings, name: &str, record_type: DnsRecordType) -> Option<Message> {
    for _ in 0..settings.attempts {
        let mut is_silent = false;
        for &server in &settings.servers {
            match ask(settings, server, name, record_type).await {
                Ok(message) if message.code == 0 || message.code == NAME_ERROR => {
                    return Some(message);
                }
                Ok(_) => {}
                Err(error) => {
                    is_silent = true;
                    tracing::warn!(%server, name, err = %error, "DNS resolution failed");
                }
            }
        }
        // Only a packet that was lost is worth another one.
        if !is_silent {
            break;
        }
    }
    None
}

async fn ask(
    settings: &Settings,
    server: SocketAddr,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Message, String> {
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = |is_large| {
        write_question(id, name, record_type, is_large)
            .ok_or_else(|| format!("{name:?} is no name of a domain"))
    };
    let is_answer = |message: &Message| {
        let asked = message.question.as_ref();
        let is_ours = asked.is_none_or(|(asked, kind)| {
            asked.eq_ignore_ascii_case(name) && *kind == type_number(record_type)
        });
        message.id == id && is_ours
    };
    let late = |_| "i/o timeout".to_owned();
    let large = question(true)?;
    let udp = ask_udp(server, &large, is_answer);
    let message = tokio::time::timeout(settings.timeout, udp).await.map_err(late)??;
    if !message.is_truncated {
        return Ok(message);
    }
    let small = question(false)?;
    let tcp = ask_tcp(server, &small);
    let message = tokio::time::timeout(settings.timeout, tcp).await.map_err(late)??;
    if !is_answer(&message) {
        return Err("the answer is that of another question".to_owned());
    }
    Ok(message)
}

async fn ask_udp(
    server: SocketAddr,
    question: &[u8],
    is_answer: impl Fn(&Message) -> bool,
) -> Result<Message, String> {
    let failed = |error: std::io::Error| error.to_string();
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(question).await.map_err(failed)?;
    let mut bytes = vec![0; UDP_BYTES_MAX];
    loop {
        let len = socket.recv(&mut bytes).await.map_err(failed)?;
        // What is no answer to this question may be a late or a forged one.
        if let Ok(message) = parse_message(&bytes[..len])
            && is_answer(&message)
        {
            return Ok(message);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> Result<Message, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    let length = (question.len() as u16).to_be_bytes();
    stream.write_all(&[&length, question].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.map_err(failed)?;
    parse_message(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_the_system() {
        let settings = Settings::parse(
            "# x\nnameserver 10.0.0.1\nnameserver ::1 # y\nnameserver nonsense\ndomain old\n\
             search a.b c.\noptions ndots:2 timeout:3 attempts:9 rotate\n",
        );
        assert_eq!(settings.servers.len(), 2);
        assert_eq!(settings.servers[1].to_string(), "[::1]:53");
        assert_eq!((settings.dots, settings.attempts), (2, 5));
        assert_eq!(settings.timeout, Duration::from_secs(3));
        assert_eq!(settings.names("x"), ["x.a.b.", "x.c.", "x."]);
        assert_eq!(settings.names("x.y.z"), ["x.y.z.", "x.y.z.a.b.", "x.y.z.c."]);
        assert_eq!(settings.names("x."), ["x."]);
        assert_eq!(Settings::parse("").servers[0].to_string(), "127.0.0.1:53");
    }
}
