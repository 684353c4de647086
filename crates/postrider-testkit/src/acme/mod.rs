//! A small authority that gives certificates by ACME (RFC 8555), and fails on demand. It verifies what clients sign, really
//! looks at what the names show, and signs with an authority's key of its own.

mod issue;
mod jws;
mod state;
mod validate;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::Timestamp;
use serde_json::{Value, json};

use self::issue::Issuing;
use self::jws::{PublicKey, Signed};
use self::state::{Outcome, State, answer, problem, url};
use crate::{HttpAnswer, HttpReceived, HttpService, ManualClock, Site};

/// Its name in every zone.
pub(super) const HOST: &str = "acme.example.org";

/// What goes wrong at an authority, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeFault {
    /// The next signed request is told that its nonce is a bad one, with another.
    BadNonce,
    /// The next order is one too many.
    RateLimited { retry_after_seconds: u64 },
    /// The next order is answered 500, with words that mean nothing.
    InternalError,
    /// The next certificate takes some time: so many looks at the order find it not done.
    SlowIssuing { looks: u32 },
    /// The accounts of before are known no more.
    ForgottenAccounts,
}

/// A running authority. Dropping it stops it.
#[derive(Debug)]
pub struct AcmeServer {
    _service: HttpService,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: ManualClock,
    issuing: Issuing,
    state: Mutex<State>,
}

impl AcmeServer {
    /// Starts an authority in a site's Internet, by whose clock its certificates are valid, and to which the site's own name
    /// leads there.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn start(site: &Site, clock: &ManualClock) -> Self {
        let ip = site.claim_ip();
        site.zone().address(HOST, ip);
        let state = State { certificate_life: Duration::from_secs(90 * 24 * 3600), ..State::default() };
        let shared = Arc::new(Shared { clock: clock.clone(), issuing: Issuing::new(), state: Mutex::new(state) });
        let answering = shared.clone();
        let service = HttpService::start_tls(ip, move |request| answering.answer(request)).await;
        let server = Self { _service: service, shared };
        server.lead(&site.environment()["MAIL_HOSTNAME"], site.ip());
        server
    }

    /// For `ACME_DIRECTORY_URL`.
    pub fn directory_url(&self) -> String {
        url("directory")
    }

    /// From now on the authority finds a name at this address.
    pub fn lead(&self, name: &str, ip: IpAddr) {
        self.shared.state().leads.insert(name.to_owned(), ip);
    }

    /// From now on the authority does not find a name.
    pub fn lead_nowhere(&self, name: &str) {
        self.shared.state().leads.remove(name);
    }

    /// How long certificates are valid from now on.
    pub fn set_certificate_life(&self, life: Duration) {
        self.shared.state().certificate_life = life;
    }

    /// From now on the authority says that certificates are to be renewed between these times (RFC 9773).
    pub fn want_renewal(&self, from: Timestamp, to: Timestamp) {
        self.shared.state().renewal_window = Some((from, to));
    }

    /// How many orders said which certificate of this authority's they replace.
    pub fn replacements(&self) -> usize {
        self.shared.state().replaced.len()
    }

    /// Accounts must be bound by this key from now on.
    pub fn require_external_account(&self, key_id: &str, hmac_key: &[u8]) {
        self.shared.state().external_account = Some((key_id.to_owned(), hmac_key.to_owned()));
    }

    /// Something goes wrong, once.
    pub fn fail(&self, fault: AcmeFault) {
        let mut state = self.shared.state();
        match fault {
            AcmeFault::ForgottenAccounts => state.accounts.iter_mut().for_each(|account| account.is_known = false),
            fault => state.faults.push(fault),
        }
    }

    /// What was asked for, in order: `new-account`, `new-order` and so on.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// How many requests of this kind there were.
    pub fn count(&self, request: &str) -> usize {
        self.shared.state().requests.iter().filter(|asked| *asked == request).count()
    }

    /// The contacts of all accounts.
    pub fn contacts(&self) -> Vec<Value> {
        self.shared.state().accounts.iter().map(|account| account.contact.clone()).collect()
    }

    /// Whether a certificate (DER) was given by this authority, for exactly these names.
    pub fn has_given(&self, certificate: &[u8], names: &[&str]) -> bool {
        self.shared.issuing.is_ours(certificate, names)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(self: &Arc<Self>, request: &HttpReceived) -> HttpAnswer {
        let mut state = self.state();
        let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let directory = || {
            let mut directory = json!({
                "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
                "revokeCert": url("revoke-cert"), "keyChange": url("key-change"),
                "meta": { "externalAccountRequired": state.external_account.is_some() },
            });
            if state.renewal_window.is_some() {
                directory["renewalInfo"] = json!(url("renewal-info"));
            }
            directory
        };
        let reply = match (request.method.as_str(), path.as_slice()) {
            ("GET", ["directory"]) => answer(200, &directory()),
            ("GET", ["renewal-info", identifier]) => state.renewal_info(identifier),
            ("HEAD", ["new-nonce"]) => HttpAnswer::new(200, ""),
            ("POST", path) => self.post(&mut state, path, request).unwrap_or_else(|refused| refused),
            _ => problem(405, "malformed", "There is nothing here"),
        };
        // RFC 8555 section 6.5.
        let nonce = state.nonce();
        reply.header(&format!("Replay-Nonce: {nonce}"))
    }

    fn post(
        self: &Arc<Self>,
        state: &mut State,
        path: &[&str],
        request: &HttpReceived,
    ) -> Result<HttpAnswer, HttpAnswer> {
        state.requests.push(path[0].to_owned());
        if request.header("content-type") != Some("application/jose+json") {
            return Err(problem(415, "malformed", "The content is no application/jose+json"));
        }
        let malformed = |detail| problem(400, "malformed", detail);
        let signed = Signed::read(&request.body).ok_or_else(|| malformed("The request cannot be read"))?;
        let is_fresh = state.nonces.remove(&signed.nonce);
        if !is_fresh || state.take(AcmeFault::BadNonce) {
            return Err(problem(400, "badNonce", "The nonce is a bad one"));
        }
        if signed.url != url(&path.join("/")) {
            return Err(problem(401, "unauthorized", "The URL is not the signed one"));
        }
        if path == ["new-account"] {
            return state.new_account(&signed);
        }
        let account = state.account(&signed)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| malformed("No such thing"));
        match path {
            ["account", _] => {
                state.accounts[account].contact = signed.payload["contact"].clone();
                Ok(answer(200, &json!({ "status": "valid" })))
            }
            ["new-order"] => state.new_order(account, &signed.payload),
            ["order", order] => {
                let order = state.order_of(number(order)?, account)?;
                Ok(answer(200, &state.order(order)).header("Retry-After: 3"))
            }
            ["authorization", authorization] => Ok(answer(200, &state.authorization(number(authorization)?)?)),
            ["challenge", authorization, kind] => {
                let authorization = number(authorization)?;
                let key = state.accounts[account].key.clone();
                self.look(state, authorization, kind, &key)
            }
            ["finalize", order] => {
                let order = state.order_of(number(order)?, account)?;
                self.finalize(state, order, &signed.payload)
            }
            ["certificate", order] => {
                let order = state.order_of(number(order)?, account)?;
                let chain = state.orders[order].chain.clone().ok_or_else(|| malformed("It is not there yet"))?;
                Ok(HttpAnswer::ok(chain).header("Content-Type: application/pem-certificate-chain"))
            }
            _ => Err(problem(404, "malformed", "There is nothing here")),
        }
    }

    /// Begins to look at what a name shows.
    fn look(
        self: &Arc<Self>,
        state: &mut State,
        index: usize,
        kind: &str,
        key: &PublicKey,
    ) -> Result<HttpAnswer, HttpAnswer> {
        let challenge = match kind {
            "http-01" => "http-01",
            "tls-alpn-01" => "tls-alpn-01",
            _ => return Err(problem(404, "malformed", "No such challenge")),
        };
        let authorization =
            state.authorizations.get_mut(index).ok_or_else(|| problem(404, "malformed", "No such authorization"))?;
        if authorization.outcome.is_none() {
            authorization.outcome = Some(Outcome::Looking);
            let (name, token) = (authorization.name.clone(), authorization.token.clone());
            let key_authorization = format!("{token}.{}", key.thumbprint());
            let (shared, ip) = (self.clone(), state.leads.get(&name).copied());
            tokio::spawn(async move {
                let looked = match (ip, challenge) {
                    (None, _) => Err(("dns", format!("no valid A records found for {name}"))),
                    (Some(ip), "http-01") => validate::http_01(ip, &name, &token, &key_authorization).await,
                    (Some(ip), _) => validate::tls_alpn_01(ip, &name, &key_authorization).await,
                };
                shared.state().authorizations[index].outcome = Some(match looked {
                    Ok(()) => Outcome::Valid,
                    Err(refusal) => Outcome::Invalid { challenge, refusal },
                });
            });
        }
        let authorization = state.authorization(index)?;
        let shown =
            authorization["challenges"].as_array().into_iter().flatten().find(|shown| shown["type"] == challenge);
        Ok(answer(200, shown.unwrap_or(&Value::Null)))
    }

    fn finalize(&self, state: &mut State, order: usize, payload: &Value) -> Result<HttpAnswer, HttpAnswer> {
        if state.status(order) != "ready" {
            return Err(problem(403, "orderNotReady", "The names are not proven"));
        }
        let names = state.orders[order].names.clone();
        let csr = payload["csr"].as_str().unwrap_or_default();
        let chain = self.issuing.issue(csr, &names, &self.clock, state.certificate_life);
        let chain = chain.map_err(|error| problem(400, "badCSR", &error))?;
        state.orders[order].chain = Some(chain);
        if let Some(AcmeFault::SlowIssuing { looks }) =
            state.take_if(|fault| matches!(fault, AcmeFault::SlowIssuing { .. }))
        {
            state.orders[order].looks_left = looks;
        }
        Ok(answer(200, &state.order(order)))
    }
}
