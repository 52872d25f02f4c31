//! Against a name server on the loopback interface.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::super::tests::Collected;
use super::*;

/// The records of a name and a type: content only.
type Zone = fn(&str, u16) -> Result<Vec<(u16, Vec<u8>)>, u8>;

fn name_bytes(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    let mut out: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    out.push(0);
    out
}

fn answer(question: &[u8], zone: Zone, is_udp: bool) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let mut name = String::new();
    let mut at = 12;
    while question[at] != 0 {
        let len = question[at] as usize;
        name.push_str(std::str::from_utf8(&question[at + 1..=at + len]).unwrap());
        name.push('.');
        at += len + 1;
    }
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let (records, code) = match zone(&name, kind) {
        Ok(records) => (records, 0),
        Err(code) => (Vec::new(), code),
    };
    // A server that is short of space: by UDP one record at most.
    let is_truncated = is_udp && records.len() > 1;
    let count = if is_truncated { 0 } else { records.len() as u8 };
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&[0x81 | u8::from(is_truncated) << 1, code, 0, 1, 0, count, 0, 0, 0, 0]);
    out.extend_from_slice(&question[12..end + 4]);
    for (kind, content) in records.iter().take(usize::from(count)) {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&(content.len() as u16).to_be_bytes());
        out.extend_from_slice(content);
    }
    out
}

async fn serve(zone: Zone) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 512];
        while let Ok((len, from)) = udp.recv_from(&mut bytes).await {
            udp.send_to(b"noise", from).await.unwrap();
            udp.send_to(&answer(&bytes[..len], zone, true), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = vec![0; stream.read_u16().await.unwrap() as usize];
            stream.read_exact(&mut bytes).await.unwrap();
            let answer = answer(&bytes, zone, false);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn zone(name: &str, kind: u16) -> Result<Vec<(u16, Vec<u8>)>, u8> {
    Ok(match (name, kind) {
        ("srv.test.", 33) => {
            let record = |port: u16, host: &str| {
                (33, [&[0, 1, 0, 2], &port.to_be_bytes()[..], &name_bytes(host)].concat())
            };
            vec![record(9100, "a.test"), record(9200, "b.test")]
        }
        ("host.test.", 1) => vec![(5, name_bytes("x.test")), (1, vec![10, 0, 0, 1])],
        ("host.test.", 28) => vec![(28, [&[0; 15][..], &[1]].concat())],
        ("host.test.", 15) => vec![(15, [&[0, 5], &name_bytes("mail.test")[..]].concat())],
        ("host.test.", 2) => vec![(2, name_bytes("ns.test"))],
        ("broken.test.", _) => return Err(2),
        _ => return Err(3),
    })
}

async fn targets(record_type: DnsRecordType, names: &[&str]) -> Vec<Labels> {
    let config = DnsDiscovery {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        refresh_interval_ms: 60_000,
        record_type,
        port: 80,
    };
    let mut dns = new(&config);
    dns.refresh.settings = Some(Settings {
        servers: vec![serve(zone).await],
        search: vec!["nowhere".to_owned(), "test".to_owned()],
        dots: 1,
        timeout: Duration::from_secs(5),
        attempts: 1,
    });
    let mut collected = Collected::run(Box::new(dns));
    collected.next().await.iter().flat_map(|group| group.targets.clone()).collect()
}

#[tokio::test]
async fn records_of_every_type_are_targets() {
    for (record_type, address, meta) in [
        (DnsRecordType::A, "10.0.0.1:80", None),
        (DnsRecordType::Aaaa, "[::1]:80", None),
        (DnsRecordType::Mx, "mail.test:80", Some(("__meta_dns_mx_record_target", "mail.test."))),
        (DnsRecordType::Ns, "ns.test:80", Some(("__meta_dns_ns_record_target", "ns.test."))),
    ] {
        let found = targets(record_type, &["host"]).await;
        let pairs = [("__address__", address), ("__meta_dns_name", "host")];
        assert_eq!(found, [Labels::from_pairs(pairs.into_iter().chain(meta))]);
    }
}

#[tokio::test]
async fn what_does_not_fit_comes_by_tcp_and_failures_are_left_out() {
    let found = targets(DnsRecordType::Srv, &["broken", "missing", "srv.test."]).await;
    let expected = |port: &str, host: &str| {
        Labels::from_pairs([
            ("__address__", format!("{host}:{port}").as_str()),
            ("__meta_dns_name", "srv.test."),
            ("__meta_dns_srv_record_port", port),
            ("__meta_dns_srv_record_target", &format!("{host}.")),
        ])
    };
    assert_eq!(found, [expected("9100", "a.test"), expected("9200", "b.test")]);
}

#[tokio::test]
async fn a_name_keeps_its_targets_while_its_servers_fail() {
    let address = serve(zone).await;
    let settings = |servers| Settings {
        servers,
        search: Vec::new(),
        dots: 0,
        timeout: Duration::from_millis(200),
        attempts: 1,
    };
    let found = look_up(&settings(vec![address]), "missing.test", DnsRecordType::A).await.unwrap();
    assert!(found.is_empty());
    let error =
        look_up(&settings(vec![address]), "broken.test", DnsRecordType::A).await.unwrap_err();
    assert!(error.starts_with("could not resolve \"broken.test\": all servers"), "{error}");
    // A server that does not answer is passed over.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = vec![silent.local_addr().unwrap(), address];
    let found = look_up(&settings(servers), "host.test", DnsRecordType::Aaaa).await.unwrap();
    assert_eq!(found.len(), 1);
}
