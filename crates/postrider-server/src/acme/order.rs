//! One order for a certificate, from the account to the chain (RFC 8555 section 7).
//!
//! It keeps the account and what is shown to the authority; the certificate is its caller's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, SuggestedWindow,
};
use postrider_config::{Acme as AcmeSettings, AcmeChallenge as Method};
use postrider_core::{Clock, Timestamp};
use postrider_store::acme::{AcmeAccount, AcmeCertificate, AcmeChallenge, ChallengeKey};
use postrider_store::dkim::PrivateKey;
use postrider_store::{Store, StoreError};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tracing::{debug, info};

use super::certificate;
use super::transport::Transport;

/// How long is waited at least before the authority is asked again how it goes.
const POLL: Duration = Duration::from_secs(2);

/// The authority does not know the account, or not any more (RFC 8555 section 6.7).
const ACCOUNT_DOES_NOT_EXIST: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Why there is no certificate, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotGiven(pub(super) String);

/// What an order needs.
#[derive(Debug)]
pub(super) struct Ordering<'a> {
    pub(super) settings: &'a AcmeSettings,
    pub(super) directory_url: &'a str,
    pub(super) store: &'a dyn Store,
    pub(super) clock: &'a dyn Clock,
    pub(super) transport: Transport,
    /// What the new one replaces, where the authority wants to know.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    /// When what is shown to the authority is of no more use.
    pub(super) until: Timestamp,
}

impl Ordering<'_> {
    /// Asks for a certificate and waits until it is given. `published` is what stands in the store for the authority to see,
    /// which the caller takes away, however this ends.
    pub(super) async fn certificate(&self, published: &mut Vec<Shown>) -> Result<AcmeCertificate, NotGiven> {
        let identifiers: Vec<_> = self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        let account = self.account().await?;
        let mut new = NewOrder::new(&identifiers);
        if let Some(replaces) = &self.replaces {
            new = new.replaces(replaces.clone());
        }
        let mut order = match account.new_order(&new).await {
            Ok(order) => order,
            Err(error) if is(&error, ACCOUNT_DOES_NOT_EXIST) => {
                self.forget_account().await?;
                self.account().await?.new_order(&NewOrder::new(&identifiers)).await?
            }
            // What it replaces is a courtesy (RFC 9773 section 5).
            Err(error) if self.replaces.is_some() && !is(&error, RATE_LIMITED) => {
                debug!(%error, "the authority does not take an order that says what it replaces");
                account.new_order(&NewOrder::new(&identifiers)).await?
            }
            Err(error) => return Err(error.into()),
        };
        debug!(order = order.url(), "the authority has the order");
        self.show(&mut order, published).await?;
        self.wait_until_ready(&mut order).await?;
        let key = rcgen::KeyPair::generate().map_err(|error| NotGiven(error.to_string()))?;
        let mut params = rcgen::CertificateParams::new(self.settings.domains.clone())
            .map_err(|error| NotGiven(error.to_string()))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|error| NotGiven(error.to_string()))?;
        order.finalize_csr(request.der()).await?;
        let chain = loop {
            match order.certificate().await? {
                Some(chain) => break chain,
                None => self.wait().await,
            }
        };
        certificate::read(
            chain,
            &key.serialize_der(),
            &self.settings.domains,
            self.directory_url,
            self.clock.now(),
            crate::random_fraction(),
        )
        .map_err(|error| NotGiven(format!("the certificate cannot be used: {error}")))
    }

    /// When the authority wants a certificate renewed; `None` where it has no such wishes (RFC 9773 section 4).
    pub(super) async fn window(
        &self,
        certificate: &CertificateIdentifier<'_>,
    ) -> Result<Option<SuggestedWindow>, NotGiven> {
        match self.account().await?.renewal_info(certificate).await {
            Ok((info, _)) => Ok(Some(info.suggested_window)),
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn forget_account(&self) -> Result<(), NotGiven> {
        info!(directory = self.directory_url, "the authority does not know the account any more; it gets another");
        Ok(AcmeAccount::forget(self.store, self.directory_url).await?)
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, NotGiven> {
        let builder = || Account::builder_with_http(Box::new(self.transport.clone()));
        let contact = self.settings.email.as_ref().map(|address| format!("mailto:{address}"));
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        if let Some(mut kept) = AcmeAccount::find(self.store, self.directory_url).await? {
            let key = BASE64.decode(&kept.private_key.0).map_err(|_| NotGiven(NO_KEY.to_owned()))?;
            let key = PrivatePkcs8KeyDer::from(key);
            let account = builder().from_parts(kept.id.clone(), key, self.directory_url.to_owned()).await?;
            if kept.contact == contact {
                return Ok(account);
            }
            match account.update_contacts(&contacts).await {
                Err(error) if is(&error, ACCOUNT_DOES_NOT_EXIST) => self.forget_account().await?,
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    kept.contact = contact;
                    kept.keep(self.store, self.directory_url).await?;
                    return Ok(account);
                }
            }
        }
        let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.external_account()?;
        let (account, credentials) = builder().create(&new, self.directory_url.to_owned(), external.as_ref()).await?;
        let private_key = PrivateKey(BASE64.encode(credentials.private_key().secret_pkcs8_der()));
        let kept = AcmeAccount { id: account.id().to_owned(), private_key, contact };
        kept.keep(self.store, self.directory_url).await?;
        info!(directory = self.directory_url, "the authority has a new account of this server's");
        Ok(account)
    }

    /// RFC 8555 section 7.3.4.
    fn external_account(&self) -> Result<Option<ExternalAccountKey>, NotGiven> {
        let (Some(id), Some(key)) = (&self.settings.eab_key_id, &self.settings.eab_hmac_key) else { return Ok(None) };
        let key = BASE64URL
            .decode(key.0.trim_end_matches('='))
            .map_err(|_| NotGiven("ACME_EAB_HMAC_KEY is no base64url".to_owned()))?;
        Ok(Some(ExternalAccountKey::new(id.clone(), &key)))
    }

    /// Has every node show what the authority wants to see, and tells it to look.
    async fn show(&self, order: &mut Order, published: &mut Vec<Shown>) -> Result<(), NotGiven> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                // Proven not long ago.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(NotGiven(format!("{name}: the authorization is {status:?} before it began"))),
            }
            let (kind, word) = match self.settings.challenge {
                Method::Http01 => (ChallengeType::Http01, "http-01"),
                Method::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                return Err(NotGiven(format!(
                    "{name}: the authority does not offer {word}; set ACME_CHALLENGE to another"
                )));
            };
            let shown = match self.settings.challenge {
                Method::Http01 => Shown::Token(challenge.token.clone()),
                Method::TlsAlpn01 => Shown::Domain(name.to_ascii_lowercase()),
            };
            let key_authorization = challenge.key_authorization().as_str().to_owned();
            published.push(shown.clone());
            AcmeChallenge { key_authorization, until: self.until }.publish(self.store, shown.key()).await?;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// Waits until the authority has seen what it wanted to see.
    async fn wait_until_ready(&self, order: &mut Order) -> Result<(), NotGiven> {
        loop {
            match order.refresh().await?.status {
                OrderStatus::Ready | OrderStatus::Valid => return Ok(()),
                OrderStatus::Pending | OrderStatus::Processing => self.wait().await,
                OrderStatus::Invalid => return Err(self.why_invalid(order).await),
            }
        }
    }

    async fn wait(&self) {
        let now = self.clock.now();
        let wanted = self.transport.retry_at().map_or(Duration::ZERO, |at| at.since(now));
        self.clock.sleep(wanted.max(POLL)).await;
    }

    /// What the authority says about the names that it does not take for ours.
    async fn why_invalid(&self, order: &mut Order) -> NotGiven {
        let mut reasons = Vec::new();
        if let Some(error) = &order.state().error {
            reasons.push(told(error));
        }
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else { continue };
            let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            let name = state.identifier().to_string();
            reasons.extend(problems.map(|problem| format!("{name}: {}{}", told(problem), self.advice(problem, &name))));
        }
        if reasons.is_empty() {
            reasons.push("the order became invalid, and the authority does not say why".to_owned());
        }
        NotGiven(reasons.join("; "))
    }

    /// What the operator may do about a name.
    fn advice(&self, problem: &Problem, name: &str) -> String {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let (setting, reached) = match self.settings.challenge {
            Method::Http01 => {
                ("ACME_HTTP_PORT", format!("port 80 of {name} (http://{name}/.well-known/acme-challenge/)"))
            }
            Method::TlsAlpn01 => ("ACME_TLS_PORT", format!("port 443 of {name}")),
        };
        match kind.rsplit(':').next().unwrap_or_default() {
            "dns" => format!(" (give {name} an address record that leads here)"),
            "caa" => format!(" (a CAA record in DNS forbids this authority to certify {name})"),
            "connection" | "unauthorized" | "incorrectResponse" | "tls" => {
                format!(" ({reached} must reach {setting} here from the Internet)")
            }
            _ => String::new(),
        }
    }
}

const NO_KEY: &str = "the key of the account cannot be read from the store";

/// What stands in the store for the authority to see.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    Token(String),
    Domain(String),
}

impl Shown {
    pub(super) fn key(&self) -> ChallengeKey<'_> {
        match self {
            Self::Token(token) => ChallengeKey::Token(token),
            Self::Domain(domain) => ChallengeKey::Domain(domain),
        }
    }
}

/// Whether the authority refuses for this reason.
fn is(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(kind))
}

/// A problem document for people: what it says, and its kind in short.
fn told(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("no type").trim_start_matches("urn:ietf:params:acme:error:");
    let detail = problem.detail.as_deref().unwrap_or("no details");
    let mut text = format!("{detail} ({kind})");
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    text
}

impl From<Error> for NotGiven {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Api(problem) => format!("the authority refuses: {}", told(&problem)),
            // The parser's own words could show what is secret.
            Error::Json(_) => "the authority's answer is not what RFC 8555 says".to_owned(),
            error => error.to_string(),
        })
    }
}

impl From<StoreError> for NotGiven {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}
