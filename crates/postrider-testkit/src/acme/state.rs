//! What the authority remembers, and what it says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use postrider_core::Timestamp;
use serde_json::{Value, json};

use super::issue::Issuing;
use super::jws::{self, PublicKey, Signed, Signer};
use super::validate::Refusal;
use super::{AcmeFault, HOST};
use crate::{HttpAnswer, ports};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) faults: Vec<AcmeFault>,
    pub(super) nonces: BTreeSet<String>,
    pub(super) nonces_given: usize,
    pub(super) accounts: Vec<Account>,
    pub(super) orders: Vec<Order>,
    pub(super) authorizations: Vec<Authorization>,
    /// Where names lead; all others nowhere.
    pub(super) leads: BTreeMap<String, IpAddr>,
    /// The key's name and the key that accounts must be bound by.
    pub(super) external_account: Option<(String, Vec<u8>)>,
    pub(super) certificate_life: Duration,
    /// When certificates that were given before this are to be renewed.
    pub(super) renewal_window: Option<(Timestamp, Timestamp)>,
    /// What new orders said that they replace.
    pub(super) replaced: Vec<String>,
    pub(super) requests: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) key: PublicKey,
    pub(super) contact: Value,
    pub(super) is_known: bool,
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) account: usize,
    pub(super) names: Vec<String>,
    pub(super) authorizations: Vec<usize>,
    pub(super) chain: Option<String>,
    /// How many looks find it not done after it was finalized.
    pub(super) looks_left: u32,
    pub(super) replaces: Option<String>,
}

#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) name: String,
    pub(super) token: String,
    /// Once it was looked at, or is being looked at.
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Looking,
    Valid,
    Invalid { challenge: &'static str, refusal: Refusal },
}

impl State {
    pub(super) fn nonce(&mut self) -> String {
        self.nonces_given += 1;
        let nonce = format!("nonce{}", self.nonces_given);
        self.nonces.insert(nonce.clone());
        nonce
    }

    pub(super) fn take_if(&mut self, is_it: impl Fn(&AcmeFault) -> bool) -> Option<AcmeFault> {
        let index = self.faults.iter().position(is_it)?;
        Some(self.faults.remove(index))
    }

    pub(super) fn take(&mut self, fault: AcmeFault) -> bool {
        self.take_if(|other| *other == fault).is_some()
    }

    /// RFC 8555 section 7.3.
    pub(super) fn new_account(&mut self, signed: &Signed) -> Result<HttpAnswer, HttpAnswer> {
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
    pub(super) fn account(&self, signed: &Signed) -> Result<usize, HttpAnswer> {
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

    pub(super) fn new_order(&mut self, account: usize, payload: &Value) -> Result<HttpAnswer, HttpAnswer> {
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
        let replaces = payload["replaces"].as_str().map(str::to_owned);
        if let Some(identifier) = &replaces {
            if !self.has_given(identifier) {
                return Err(problem(404, "malformed", "No such certificate"));
            }
            self.replaced.push(identifier.clone());
        }
        let first = self.authorizations.len();
        for name in &names {
            let token = format!("token-{}", self.authorizations.len());
            self.authorizations.push(Authorization { name: name.clone(), token, outcome: None });
        }
        let authorizations = (first..self.authorizations.len()).collect();
        self.orders.push(Order { account, names, authorizations, chain: None, looks_left: 0, replaces });
        let order = self.orders.len() - 1;
        Ok(answer(201, &self.order(order)).header(&format!("Location: {}", url(&format!("order/{order}")))))
    }

    pub(super) fn order_of(&self, order: usize, account: usize) -> Result<usize, HttpAnswer> {
        match self.orders.get(order) {
            Some(found) if found.account == account => Ok(order),
            _ => Err(problem(404, "malformed", "No such order of yours")),
        }
    }

    /// Whether a certificate of this identifier was given.
    pub(super) fn has_given(&self, identifier: &str) -> bool {
        let given = self.orders.iter().filter_map(|order| Issuing::identifier(order.chain.as_deref()?));
        given.into_iter().any(|given| given == identifier)
    }

    /// RFC 9773 section 4.2.
    pub(super) fn renewal_info(&self, identifier: &str) -> HttpAnswer {
        match self.renewal_window {
            Some((start, end)) if self.has_given(identifier) => {
                let window = json!({ "start": start.to_rfc3339(), "end": end.to_rfc3339() });
                answer(200, &json!({ "suggestedWindow": window })).header("Retry-After: 21600")
            }
            _ => problem(404, "malformed", "No such certificate"),
        }
    }

    /// RFC 8555 section 7.1.6.
    pub(super) fn status(&self, order: usize) -> &'static str {
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
    pub(super) fn order(&mut self, index: usize) -> Value {
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
        if let Some(replaces) = &order.replaces {
            shown["replaces"] = json!(replaces);
        }
        if status == "valid" {
            shown["certificate"] = json!(url(&format!("certificate/{index}")));
        }
        shown
    }

    pub(super) fn authorization(&self, index: usize) -> Result<Value, HttpAnswer> {
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

pub(super) fn url(path: &str) -> String {
    format!("https://{HOST}:{}/{path}", ports::HTTPS)
}

pub(super) fn answer(status: u16, body: &Value) -> HttpAnswer {
    HttpAnswer::new(status, body.to_string()).header("Content-Type: application/json")
}

pub(super) fn problem(status: u16, kind: &str, detail: &str) -> HttpAnswer {
    answer(status, &json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status }))
}
