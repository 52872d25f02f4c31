//! Who asks AWS: keys of the configuration, of the environment, of the shared files, of a web
//! identity, of a container's or an instance's role; and the role that is taken on with them.

use super::metadata;
use super::shared_files::Profile;
use super::sigv4::{Scope, sign};
use super::xml::Element;
use super::{domain, now_s};
use crate::config::Secret;
use crate::http_client::{Client, Request, Response, Url, encode_query};

/// Credentials are not used any more this long before they expire.
const EXPIRY_MARGIN_S: i64 = 300;

/// A key, with what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    pub(super) session_token: Secret,
    pub(super) expires_s: Option<i64>,
}

/// What the configuration says of credentials.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Chain {
    pub(in super::super) access_key: String,
    pub(in super::super) secret_key: Secret,
    pub(in super::super) profile: String,
    pub(in super::super) role_arn: String,
    pub(in super::super) external_id: String,
    /// Where tokens of roles are given; the region's own address where empty.
    pub(in super::super) sts_endpoint: String,
}

/// An account: credentials that are found when they are needed and kept while they hold.
#[derive(Debug)]
pub(in super::super) struct Account {
    chain: Chain,
    region: String,
    current: Option<Credentials>,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

impl Account {
    /// The account of that chain, in the region given, or in that which environment, files or
    /// the instance name.
    pub(in super::super) async fn open(chain: &Chain, region: &str) -> Result<Self, String> {
        let named = [
            region.to_owned(),
            variable("AWS_REGION"),
            variable("AWS_DEFAULT_REGION"),
            Profile::read(&chain.profile).region,
        ];
        let region = match named.into_iter().find(|region| !region.is_empty()) {
            Some(region) => region,
            None => metadata::region()
                .await
                .map_err(|error| format!("could not determine AWS region: {error}"))?,
        };
        Ok(Self { chain: chain.clone(), region, current: None })
    }

    pub(in super::super) fn region(&self) -> &str {
        &self.region
    }

    /// Forgets the credentials: they were refused.
    pub(in super::super) fn forget(&mut self) {
        self.current = None;
    }

    /// Calls an action of a service and gives the document that it answers.
    pub(in super::super) async fn call(
        &mut self,
        client: &Client,
        endpoint: &str,
        service: &str,
        fields: &[(String, Vec<String>)],
    ) -> Result<Element, String> {
        let credentials = self.credentials(client).await?;
        let scope = Scope { region: &self.region, service };
        let url = Url::parse(endpoint).map_err(|error| format!("{endpoint}: {error}"))?;
        let request = sign(url, form(fields), &credentials, scope, now_s())?;
        read(&client.send(&request).await.map_err(|error| error.to_string())?)
    }

    pub(super) async fn credentials(&mut self, client: &Client) -> Result<Credentials, String> {
        let holds = |credentials: &&Credentials| {
            credentials.expires_s.is_none_or(|expires| now_s() + EXPIRY_MARGIN_S < expires)
        };
        if let Some(current) = self.current.as_ref().filter(holds) {
            return Ok(current.clone());
        }
        let mut found = self.find(client).await?;
        if !self.chain.role_arn.is_empty() {
            found = self.take_on_role(client, &found).await?;
        }
        self.current = Some(found.clone());
        Ok(found)
    }

    async fn find(&self, client: &Client) -> Result<Credentials, String> {
        let chain = &self.chain;
        if !chain.access_key.is_empty() && !chain.secret_key.is_empty() {
            return Ok(Credentials {
                access_key: chain.access_key.clone(),
                secret_key: chain.secret_key.clone(),
                session_token: Secret::default(),
                expires_s: None,
            });
        }
        let key = variable("AWS_ACCESS_KEY_ID");
        if !key.is_empty() && chain.profile.is_empty() {
            return Ok(Credentials {
                access_key: key,
                secret_key: Secret::new(variable("AWS_SECRET_ACCESS_KEY")),
                session_token: Secret::new(variable("AWS_SESSION_TOKEN")),
                expires_s: None,
            });
        }
        let profile = Profile::read(&chain.profile);
        if !profile.access_key.is_empty() {
            return Ok(Credentials {
                access_key: profile.access_key,
                secret_key: profile.secret_key,
                session_token: profile.session_token,
                expires_s: None,
            });
        }
        let token = variable("AWS_WEB_IDENTITY_TOKEN_FILE");
        if !token.is_empty() {
            return self.of_web_identity(client, &token).await;
        }
        metadata::credentials().await.map_err(|error| format!("no credentials found: {error}"))
    }

    fn sts_endpoint(&self) -> String {
        if !self.chain.sts_endpoint.is_empty() {
            return self.chain.sts_endpoint.clone();
        }
        format!("https://sts.{}.{}/", self.region, domain(&self.region))
    }

    async fn of_web_identity(&self, client: &Client, path: &str) -> Result<Credentials, String> {
        let token =
            std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
        let session = variable("AWS_ROLE_SESSION_NAME");
        let session = if session.is_empty() { "narthex".to_owned() } else { session };
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity".to_owned()),
            ("Version", "2011-06-15".to_owned()),
            ("RoleArn", variable("AWS_ROLE_ARN")),
            ("RoleSessionName", session),
            ("WebIdentityToken", token.trim().to_owned()),
        ];
        let url = Url::parse(&self.sts_endpoint()).map_err(|error| error.to_string())?;
        let fields = fields.map(|(name, value)| (name.to_owned(), vec![value]));
        let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = Request {
            method: http::Method::POST,
            headers: std::sync::Arc::from([(http::header::CONTENT_TYPE, form_type)]),
            body: hyper::body::Bytes::from(form(&fields)),
            ..Request::get(url)
        };
        let response = client.send(&request).await.map_err(|error| error.to_string())?;
        role_credentials(&read(&response)?, "AssumeRoleWithWebIdentityResult")
    }

    async fn take_on_role(
        &self,
        client: &Client,
        base: &Credentials,
    ) -> Result<Credentials, String> {
        let chain = &self.chain;
        let mut fields = vec![
            ("Action", "AssumeRole".to_owned()),
            ("Version", "2011-06-15".to_owned()),
            ("RoleArn", chain.role_arn.clone()),
            ("RoleSessionName", "narthex".to_owned()),
        ];
        if !chain.external_id.is_empty() {
            fields.push(("ExternalId", chain.external_id.clone()));
        }
        let fields: Vec<_> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect();
        let scope = Scope { region: &self.region, service: "sts" };
        let url = Url::parse(&self.sts_endpoint()).map_err(|error| error.to_string())?;
        let request = sign(url, form(&fields), base, scope, now_s())?;
        let response = client.send(&request).await.map_err(|error| error.to_string())?;
        let document = read(&response).map_err(|error| format!("taking on the role: {error}"))?;
        role_credentials(&document, "AssumeRoleResult")
    }
}

/// A form with blanks as `%20`, as signatures want it.
fn form(fields: &[(String, Vec<String>)]) -> String {
    encode_query(fields).replace('+', "%20")
}

/// The document of an answer; an error that it describes is one.
fn read(response: &Response) -> Result<Element, String> {
    let text = String::from_utf8_lossy(&response.body);
    let document = Element::parse(&text);
    if response.status.is_success() {
        return document.map_err(|error| error.to_string());
    }
    let error = document.ok().and_then(|document| {
        let paths: [&[&str]; 2] = [&["Errors", "Error"], &["Error"]];
        let error = paths.into_iter().find_map(|path| document.at(path))?;
        Some(format!("{}: {}", error.text_at(&["Code"]), error.text_at(&["Message"])))
    });
    Err(error.unwrap_or_else(|| format!("server returned HTTP status {}", response.status_text)))
}

fn role_credentials(document: &Element, result: &str) -> Result<Credentials, String> {
    let found = document.at(&[result, "Credentials"]).ok_or("the answer has no credentials")?;
    let expires = found.text_at(&["Expiration"]).parse::<jiff::Timestamp>();
    Ok(Credentials {
        access_key: found.text_at(&["AccessKeyId"]).to_owned(),
        secret_key: Secret::new(found.text_at(&["SecretAccessKey"])),
        session_token: Secret::new(found.text_at(&["SessionToken"])),
        expires_s: expires.ok().map(jiff::Timestamp::as_second),
    })
}
