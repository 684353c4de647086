//! The listeners of IMAP, and what they offer to whom.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use postrider_config::Settings;
use postrider_wire::imap::response::{Code, Status};
use postrider_wire::imap::server::{AuthPolicy, Limits as WireLimits, ServerConfig};
use tokio::net::TcpStream;

use super::{Context, session};
use crate::listen;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// `IMAP_PORT`: STARTTLS, then log-in.
    Imap,
    /// `IMAPS_PORT`: TLS from the first byte.
    Imaps,
}

impl Listener {
    pub(crate) const ALL: [Self; 2] = [Self::Imap, Self::Imaps];

    /// As `/health` and the log name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Imaps => "imaps",
        }
    }

    pub(crate) fn port(self, settings: &Settings) -> u16 {
        match self {
            Self::Imap => settings.imap_port,
            Self::Imaps => settings.imaps_port,
        }
    }

    pub(crate) fn has_implicit_tls(self) -> bool {
        self == Self::Imaps
    }
}

/// What one listener does with its connections.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) listener: Listener,
    pub(crate) context: Arc<Context>,
    /// For peers elsewhere, and on loopback.
    wire: [Arc<ServerConfig>; 2],
}

impl Service {
    pub(crate) fn new(listener: Listener, context: Arc<Context>, scram_decoy_key: [u8; 32]) -> Self {
        let wire = [AuthPolicy::TlsOnly, AuthPolicy::Always].map(|auth| {
            let limits = WireLimits { message_bytes_max: context.message_bytes_max, ..WireLimits::default() };
            Arc::new(ServerConfig {
                limits,
                starttls: !listener.has_implicit_tls(),
                auth,
                compress: true,
                scram_decoy_key,
                ..ServerConfig::new(format!("{} Postrider is ready", context.common.hostname))
            })
        });
        Self { listener, context, wire }
    }
}

impl listen::Service for Service {
    fn name(&self) -> &'static str {
        self.listener.name()
    }

    fn too_many_sessions(&self) -> Option<Vec<u8>> {
        if self.listener.has_implicit_tls() {
            return None;
        }
        let mut line = BytesMut::new();
        let status = Status::bye("Too many connections, try again later").with_code(Code::Unavailable);
        status.write_untagged(&mut line);
        Some(line.to_vec())
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: IpAddr, _is_trusted: bool) {
        let wire = self.wire[usize::from(peer.is_loopback())].clone();
        session::run(self.context.clone(), self.listener, wire, tcp, peer).await;
    }
}
