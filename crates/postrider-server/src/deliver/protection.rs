//! How the connection to a host is to be protected: what its TLSA records, the domain's policy, the operator and the message ask
//! for. Of these DANE comes first (RFC 8461 section 2).

use std::sync::Arc;

use postrider_core::TlsAuthentication;
use postrider_core::{Category, Domain, Outcome};
use postrider_wire::smtp::client::TlsUse;

use super::Delivery;
use super::dane::{Dane, TlsaSet};
use super::route::{MxHost, NoRoute, Route, TlsMode};

/// The protection of one connection.
#[derive(Debug, Clone)]
pub(super) struct Protection {
    pub(super) starttls: TlsUse,
    pub(super) check: Check,
}

/// Which certificates are taken.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// Any: without a word on which it should be, the alternative would be none (RFC 7435).
    None,
    /// Those that are valid for the host's name.
    Name,
    Tlsa(Arc<TlsaSet>),
}

impl Check {
    pub(super) fn tlsa(&self) -> Option<&Arc<TlsaSet>> {
        match self {
            Self::Tlsa(set) => Some(set),
            Self::None | Self::Name => None,
        }
    }

    pub(super) fn authentication(&self) -> Option<TlsAuthentication> {
        match self {
            Self::None => None,
            Self::Name => Some(TlsAuthentication::Pkix),
            Self::Tlsa(_) => Some(TlsAuthentication::Dane),
        }
    }
}

impl Protection {
    /// What a host of a route asks for. `avoid_tls`: in clear where TLS is a matter of choice. The error says what becomes of the
    /// mail at this host.
    pub(super) async fn of(
        delivery: &Delivery,
        route: &Route,
        host: &MxHost,
        next_hop: Option<&Domain>,
        avoid_tls: bool,
    ) -> Result<Self, Outcome> {
        let (starttls, check) = match route.tls {
            TlsMode::Never => (TlsUse::Never, Check::None),
            TlsMode::Implicit { verified: false } => (TlsUse::Never, Check::None),
            TlsMode::Implicit { verified: true } => (TlsUse::Never, Check::Name),
            TlsMode::Opportunistic | TlsMode::StartTlsVerified => {
                return Self::of_mx(delivery, route, host, next_hop, avoid_tls).await;
            }
        };
        Ok(Self { starttls, check })
    }

    async fn of_mx(
        delivery: &Delivery,
        route: &Route,
        host: &MxHost,
        next_hop: Option<&Domain>,
        avoid_tls: bool,
    ) -> Result<Self, Outcome> {
        let dane = match &delivery.dnssec {
            Some(dnssec) if host.is_secure => {
                let found = Dane::of(dnssec, &host.name, route.port, next_hop).await;
                // RFC 7672 section 2.1.2: not in clear, and not here.
                found.map_err(|error| {
                    let name = format!("whether {} has TLSA records", host.name);
                    let reason = format!("{name} cannot be found out: {error}");
                    Outcome::Deferred { category: Category::Dns, reply: None, reason }
                })?
            }
            _ => Dane::Absent,
        };
        if let Dane::Usable(set) = dane {
            return Ok(Self { starttls: TlsUse::Required, check: Check::Tlsa(set) });
        }
        if !host.is_allowed {
            return Err(NoRoute::not_allowed_host(&host.name).outcome());
        }
        if route.tls == TlsMode::StartTlsVerified {
            return Ok(Self { starttls: TlsUse::Required, check: Check::Name });
        }
        let starttls = match dane {
            Dane::Unusable => TlsUse::Required,
            _ if avoid_tls => TlsUse::Never,
            _ => TlsUse::IfOffered,
        };
        Ok(Self { starttls, check: Check::None })
    }
}
