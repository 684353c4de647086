//! A small authority that gives certificates by ACME (RFC 8555), and fails on demand. It verifies what clients sign, really
//! looks at what the names show, and signs with an authority's key of its own.

mod issue;
mod jws;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use self::issue::Issuing;
use self::jws::{PublicKey, Signed, Signer};
use self::validate::Refusal;
use crate::{HttpAnswer, HttpReceived, HttpService, ManualClock, Site, ports};

/// Its name in every zone.
const HOST: &str = "acme.example.org";

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

#[derive(Debug, Default)]
struct State {
    faults: Vec<AcmeFault>,
    nonces: BTreeSet<String>,
    nonces_given: usize,
    accounts: Vec<Account>,
    orders: Vec<Order>,
    authorizations: Vec<Authorization>,
    /// Where names lead; all others nowhere.
    leads: BTreeMap<String, IpAddr>,
    /// The key's name and the key that accounts must be bound by.
    external_account: Option<(String, Vec<u8>)>,
    certificate_life: Duration,
    requests: Vec<String>,
}

#[derive(Debug)]
struct Account {
    key: PublicKey,
    contact: Value,
    is_known: bool,
}

#[derive(Debug)]
struct Order {
    account: usize,
    names: Vec<String>,
    authorizations: Vec<usize>,
    chain: Option<String>,
    /// How many looks find it not done after it was finalized.
    looks_left: u32,
}

#[derive(Debug)]
struct Authorization {
    name: String,
    token: String,
    /// Once it was looked at, or is being looked at.
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
enum Outcome {
    Looking,
    Valid,
    Invalid { challenge: &'static str, refusal: Refusal },
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

fn url(path: &str) -> String {
    format!("https://{HOST}:{}/{path}", ports::HTTPS)
}

fn answer(status: u16, body: &Value) -> HttpAnswer {
    HttpAnswer::new(status, body.to_string()).header("Content-Type: application/json")
}

fn problem(status: u16, kind: &str, detail: &str) -> HttpAnswer {
    answer(status, &json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status }))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(self: &Arc<Self>, request: &HttpReceived) -> HttpAnswer {
        let mut state = self.state();
        let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let directory = || {
            json!({
                "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
                "revokeCert": url("revoke-cert"), "keyChange": url("key-change"),
                "meta": { "externalAccountRequired": state.external_account.is_some() },
            })
        };
        let reply = match (request.method.as_str(), path.as_slice()) {
            ("GET", ["directory"]) => answer(200, &directory()),
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

impl State {
    fn nonce(&mut self) -> String {
        self.nonces_given += 1;
        let nonce = format!("nonce{}", self.nonces_given);
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn take_if(&mut self, is_it: impl Fn(&AcmeFault) -> bool) -> Option<AcmeFault> {
        let index = self.faults.iter().position(is_it)?;
        Some(self.faults.remove(index))
    }

    fn take(&mut self, fault: AcmeFault) -> bool {
        self.take_if(|other| *other == fault).is_some()
    }

    /// RFC 8555 section 7.3.
    fn new_account(&mut self, signed: &Signed) -> Result<HttpAnswer, HttpAnswer> {
        let Signer::New(key) = &signed.signer else { return Err(problem(400, "malformed", "There is no key")) };
        if !signed.is_by(key) {
            return Err(problem(401, "unauthorized", "The signature is not by that key"));
        }
        if signed.payload["termsOfServiceAgreed"] != json!(true) {
            return Err(problem(403, "userActionRequired", "The terms are not agreed to"));
        }
        if let Some((key_id, hmac_key)) = &self.external_account
            && !jws::is_bound(&signed.payload["externalAccountBinding"], key_id, hmac_key, key)
        {
            return Err(problem(403, "externalAccountRequired", "The account is not bound to one here"));
        }
        let contact = signed.payload["contact"].clone();
        self.accounts.push(Account { key: key.clone(), contact, is_known: true });
        let location = url(&format!("account/{}", self.accounts.len() - 1));
        Ok(answer(201, &json!({ "status": "valid" })).header(&format!("Location: {location}")))
    }

    /// The account that signed a request.
    fn account(&self, signed: &Signed) -> Result<usize, HttpAnswer> {
        let unknown = || problem(400, "accountDoesNotExist", "No such account");
        let Signer::Account(account) = &signed.signer else { return Err(unknown()) };
        let number = account.rsplit('/').next().and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
        let account: &Account = self.accounts.get(number).ok_or_else(unknown)?;
        if !account.is_known {
            return Err(unknown());
        }
        if !signed.is_by(&account.key) {
            return Err(problem(401, "unauthorized", "The signature is not by the account's key"));
        }
        Ok(number)
    }

    fn new_order(&mut self, account: usize, payload: &Value) -> Result<HttpAnswer, HttpAnswer> {
        let limited = self.take_if(|fault| matches!(fault, AcmeFault::RateLimited { .. }));
        if let Some(AcmeFault::RateLimited { retry_after_seconds }) = limited {
            let refused = problem(429, "rateLimited", "too many certificates already issued");
            return Err(refused.header(&format!("Retry-After: {retry_after_seconds}")));
        }
        if self.take(AcmeFault::InternalError) {
            return Err(HttpAnswer::new(500, "<html>Something went wrong</html>"));
        }
        let identifiers = payload["identifiers"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> =
            identifiers.iter().filter_map(|identifier| identifier["value"].as_str().map(str::to_owned)).collect();
        let first = self.authorizations.len();
        for name in &names {
            let token = format!("token-{}", self.authorizations.len());
            self.authorizations.push(Authorization { name: name.clone(), token, outcome: None });
        }
        let authorizations = (first..self.authorizations.len()).collect();
        self.orders.push(Order { account, names, authorizations, chain: None, looks_left: 0 });
        let order = self.orders.len() - 1;
        Ok(answer(201, &self.order(order)).header(&format!("Location: {}", url(&format!("order/{order}")))))
    }

    fn order_of(&self, order: usize, account: usize) -> Result<usize, HttpAnswer> {
        match self.orders.get(order) {
            Some(found) if found.account == account => Ok(order),
            _ => Err(problem(404, "malformed", "No such order of yours")),
        }
    }

    /// RFC 8555 section 7.1.6.
    fn status(&self, order: usize) -> &'static str {
        let Order { authorizations, chain, looks_left, .. } = &self.orders[order];
        let outcomes = || authorizations.iter().map(|&index| self.authorizations[index].outcome.as_ref());
        if outcomes().any(|outcome| matches!(outcome, Some(Outcome::Invalid { .. }))) {
            "invalid"
        } else if chain.is_some() {
            if *looks_left == 0 { "valid" } else { "processing" }
        } else if outcomes().all(|outcome| matches!(outcome, Some(Outcome::Valid))) {
            "ready"
        } else {
            "pending"
        }
    }

    /// What a look at an order finds.
    fn order(&mut self, index: usize) -> Value {
        let status = self.status(index);
        let order = &mut self.orders[index];
        order.looks_left = order.looks_left.saturating_sub(u32::from(order.chain.is_some()));
        let identifiers: Vec<_> = order.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
        let authorizations: Vec<_> =
            order.authorizations.iter().map(|number| url(&format!("authorization/{number}"))).collect();
        let mut shown = json!({
            "status": status, "identifiers": identifiers, "authorizations": authorizations,
            "finalize": url(&format!("finalize/{index}")),
        });
        if status == "valid" {
            shown["certificate"] = json!(url(&format!("certificate/{index}")));
        }
        shown
    }

    fn authorization(&self, index: usize) -> Result<Value, HttpAnswer> {
        let Authorization { name, token, outcome } =
            self.authorizations.get(index).ok_or_else(|| problem(404, "malformed", "No such authorization"))?;
        let (status, challenge_status) = match outcome {
            None => ("pending", "pending"),
            Some(Outcome::Looking) => ("pending", "processing"),
            Some(Outcome::Valid) => ("valid", "valid"),
            Some(Outcome::Invalid { .. }) => ("invalid", "invalid"),
        };
        let challenges: Vec<_> = ["http-01", "tls-alpn-01", "dns-01"]
            .into_iter()
            .map(|kind| {
                let address = url(&format!("challenge/{index}/{kind}"));
                let mut shown = json!({ "type": kind, "url": address, "token": token, "status": challenge_status });
                if let Some(Outcome::Invalid { challenge, refusal: (problem, detail) }) = outcome
                    && *challenge == kind
                {
                    shown["error"] =
                        json!({ "type": format!("urn:ietf:params:acme:error:{problem}"), "detail": detail, "status": 403 });
                }
                shown
            })
            .collect();
        Ok(json!({ "status": status, "identifier": { "type": "dns", "value": name }, "challenges": challenges }))
    }
}
