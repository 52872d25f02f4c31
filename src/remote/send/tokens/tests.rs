//! Tokens of a small server that stands for a cloud.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;
use crate::config::{AzureConfig, AzureIdentity, GoogleConfig};

/// Heads and bodies of what was asked.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server that answers each question with the next of some answers, the last one again and
/// again: status and body.
fn issuer(answers: &[(u16, &str)]) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let all = Arc::clone(&asked);
    let mut answers: Vec<(u16, String)> =
        answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut text, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                text.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            text.push_str(&String::from_utf8(body).unwrap());
            all.lock().unwrap().push(text);
            let (status, body) =
                if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            reader.get_mut().write_all(head.as_bytes()).unwrap();
        }
    });
    (address, asked)
}

fn tokens(issuer: Issuer) -> Tokens {
    let client = Client::new(&HttpClientConfig::default()).unwrap();
    Tokens { issuer, client, state: tokio::sync::Mutex::default() }
}

fn azure(identity: AzureIdentity) -> AzureConfig {
    AzureConfig { cloud: "AzurePublic".to_owned(), scope: String::new(), identity }
}

fn nothing(_: &str) -> String {
    String::new()
}

async fn header(tokens: &Tokens) -> String {
    tokens.header().await.unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_of_azure_shows_its_secret_and_keeps_the_token() {
    let good = r#"{"token_type":"Bearer","expires_in":3600,"access_token":"T1"}"#;
    let later = r#"{"expires_in":"3600","access_token":"T2"}"#;
    let (address, asked) = issuer(&[(200, good), (200, later)]);
    let config = azure(AzureIdentity::Client {
        client_id: "id".to_owned(),
        client_secret: Secret::new("s&t"),
        tenant_id: "tenant".to_owned(),
    });
    let authority = format!("http://{address}");
    let tokens = tokens(Issuer::Azure(Azure::under(&config, &authority, &nothing)));
    assert_eq!(header(&tokens).await, "Bearer T1");
    assert_eq!(header(&tokens).await, "Bearer T1");
    assert!(tokens.header().await.unwrap().is_sensitive());
    tokens.forget().await;
    assert_eq!(header(&tokens).await, "Bearer T2");
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"), "{}", asked[0]);
    for field in [
        "client_id=id",
        "client_secret=s%26t",
        "grant_type=client_credentials",
        "scope=https%3A%2F%2Fmonitor.azure.com%2F%2F.default",
    ] {
        assert!(asked[0].contains(field), "{field}: {}", asked[0]);
    }
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_file_as_it_is_now() {
    let (address, asked) = issuer(&[(200, r#"{"access_token":"T"}"#)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let config = azure(AzureIdentity::Workload {
        client_id: "id".to_owned(),
        tenant_id: "t".to_owned(),
        token_file: String::new(),
    });
    let path = file.display().to_string();
    let variable = |name: &str| {
        if name == "AZURE_FEDERATED_TOKEN_FILE" { path.clone() } else { nothing(name) }
    };
    let authority = format!("http://{address}");
    let tokens = tokens(Issuer::Azure(Azure::under(&config, &authority, &variable)));
    assert_eq!(header(&tokens).await, "Bearer T");
    std::fs::write(&file, "second").unwrap();
    tokens.forget().await;
    header(&tokens).await;
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("client_assertion=first&"), "{}", asked[0]);
    assert!(asked[1].contains("client_assertion=second&"), "{}", asked[1]);
    assert!(asked[0].contains("client-assertion-type%3Ajwt-bearer"));
}

#[tokio::test]
async fn a_machine_asks_its_server_of_metadata() {
    let (address, asked) = issuer(&[(200, r#"{"access_token":"T","expires_on":"9999999999"}"#)]);
    let managed = || azure(AzureIdentity::Managed { client_id: "me".to_owned() });
    let host = |name: &str| match name {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST" => format!("http://{address}/"),
        _ => String::new(),
    };
    let machine = Tokens::within(&TokenConfig::Azure(managed()), &host).unwrap();
    assert_eq!(header(&machine).await, "Bearer T");
    let service = |name: &str| match name {
        "IDENTITY_ENDPOINT" => format!("http://{address}/msi/token"),
        "IDENTITY_HEADER" => "secret".to_owned(),
        _ => String::new(),
    };
    let service = Tokens::within(&TokenConfig::Azure(managed()), &service).unwrap();
    assert_eq!(header(&service).await, "Bearer T");
    let google = TokenConfig::Google(GoogleConfig::default());
    let google = Tokens::within(&google, &|name| match name {
        "GCE_METADATA_HOST" => address.clone(),
        _ => String::new(),
    })
    .unwrap();
    assert_eq!(header(&google).await, "Bearer T");
    let asked = asked.lock().unwrap();
    let first = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&client_id=me&resource=\
                 https%3A%2F%2Fmonitor.azure.com%2F HTTP/1.1\r\n";
    assert!(asked[0].starts_with(first), "{}", asked[0]);
    assert!(asked[0].contains("metadata: true"));
    assert!(asked[1].starts_with("GET /msi/token?api-version=2019-08-01&"), "{}", asked[1]);
    assert!(asked[1].contains("x-identity-header: secret"));
    assert!(asked[2].contains("/service-accounts/default/token?scopes=https://www"));
    assert!(asked[2].contains("metadata-flavor: Google"));
}

#[tokio::test]
async fn a_service_account_of_google_signs_what_it_asks() {
    let (address, asked) = issuer(&[(200, r#"{"access_token":"T","expires_in":3599}"#)]);
    let folder = tempfile::tempdir().unwrap();
    let key = std::fs::read_to_string("testdata/tls/rsa.key").unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let account = serde_json::json!({
        "type": "service_account",
        "client_email": "a@b",
        "private_key_id": "k1",
        "private_key": key,
        "token_uri": format!("http://{address}/token"),
    });
    let file = write("account.json", account.to_string());
    let of = |file: &str| TokenConfig::Google(GoogleConfig { credentials_file: file.to_owned() });
    let tokens = Tokens::within(&of(&file), &nothing).unwrap();
    assert_eq!(header(&tokens).await, "Bearer T");
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"));
    let assertion = asked[0].split("assertion=").nth(1).unwrap();
    let parts: Vec<&str> = assertion.split('.').collect();
    let part = |at: usize| {
        use base64::Engine as _;
        let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(parts[at]).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    assert_eq!(part(0), serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        (&part(1)["iss"], &part(1)["scope"]),
        (&"a@b".into(), &"https://www.googleapis.com/auth/monitoring.write".into(),)
    );
    // What cannot be used is told when the configuration is read, without its text.
    for (name, text, why) in [
        ("none.json", "{".to_owned(), "no credentials, see line 1"),
        ("key.json", account.to_string().replace("BEGIN", "XXX"), "no private key"),
        ("user.json", r#"{"type": "authorized_user"}"#.to_owned(), "service_account are wanted"),
    ] {
        let error = Tokens::within(&of(&write(name, text)), &nothing).unwrap_err();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
    let missing = Tokens::within(&of("missing.json"), &nothing).unwrap_err();
    assert!(missing.starts_with("missing.json: "), "{missing}");
    let other = write("other.json", r#"{"type": "external_account"}"#.to_owned());
    let variable = |name: &str| match name {
        "GOOGLE_APPLICATION_CREDENTIALS" => other.clone(),
        _ => String::new(),
    };
    let error = Tokens::within(&of(""), &variable).unwrap_err();
    assert!(error.contains("\"external_account\" are not built in"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_told_and_the_token_at_hand_is_used_while_it_holds() {
    let refused = r#"{"error":"invalid_client","error_description":"no such client"}"#;
    let (address, asked) = issuer(&[(401, refused), (200, "{}"), (503, "gone")]);
    let config = azure(AzureIdentity::Client {
        client_id: "id".to_owned(),
        client_secret: Secret::new("secret"),
        tenant_id: "t".to_owned(),
    });
    let authority = format!("http://{address}");
    let tokens = tokens(Issuer::Azure(Azure::under(&config, &authority, &nothing)));
    let error = tokens.header().await.unwrap_err();
    assert_eq!(error, "Failed to get access token: status 401 X: no such client");
    // Not again at once.
    assert_eq!(tokens.header().await.unwrap_err(), error);
    assert_eq!(asked.lock().unwrap().len(), 1);
    tokens.state.lock().await.failed = None;
    assert!(tokens.header().await.unwrap_err().contains("access token is empty"));
    let now = Instant::now();
    let header = HeaderValue::from_static("Bearer T");
    let token = Token { header, renewed: now, expires: now + Duration::from_mins(1) };
    *tokens.state.lock().await = State { token: Some(token), failed: None };
    assert_eq!(self::header(&tokens).await, "Bearer T");
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_life_without_end_is_cut_and_an_issuer_that_is_away_holds_nothing_up() {
    let endless = r#"{"expires_in":18446744073709551615,"access_token":"T"}"#;
    let until = r#"{"expires_on":"18446744073709551615","access_token":"U"}"#;
    let (address, asked) = issuer(&[(200, endless), (200, until), (503, "gone")]);
    let config = azure(AzureIdentity::Client {
        client_id: "id".to_owned(),
        client_secret: Secret::new("secret"),
        tenant_id: "t".to_owned(),
    });
    let authority = format!("http://{address}");
    let tokens = tokens(Issuer::Azure(Azure::under(&config, &authority, &nothing)));
    assert_eq!(self::header(&tokens).await, "Bearer T");
    tokens.forget().await;
    assert_eq!(self::header(&tokens).await, "Bearer U");
    // Half of its life is over.
    tokens.state.lock().await.token.as_mut().unwrap().renewed = Instant::now();
    assert_eq!(self::header(&tokens).await, "Bearer U");
    assert_eq!(asked.lock().unwrap().len(), 3);
    // While it holds nobody has to wait for the next question so soon.
    let before = Instant::now().checked_sub(PAUSE).unwrap();
    tokens.state.lock().await.failed.as_mut().unwrap().0 = before;
    assert_eq!(self::header(&tokens).await, "Bearer U");
    assert_eq!(asked.lock().unwrap().len(), 3);
}
