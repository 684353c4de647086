//! A listener of SMTP or LMTP, as what accepts its connections sees it.

use std::net::IpAddr;
use std::sync::Arc;

use postrider_wire::smtp::reply::Reply;
use tokio::net::TcpStream;

use super::Context;
use super::policy::{Listener, Policies};
use super::session;
use crate::listen;

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) listener: Listener,
    pub(crate) policies: Policies,
    pub(crate) context: Arc<Context>,
}

impl listen::Service for Service {
    fn name(&self) -> &'static str {
        self.listener.name()
    }

    fn too_many_sessions(&self) -> Option<Vec<u8>> {
        if self.listener.has_implicit_tls() {
            return None;
        }
        let mut line = Vec::new();
        Reply::TOO_MANY_SESSIONS.write(&mut line);
        Some(line)
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: IpAddr, is_trusted: bool) {
        let policy = self.policies.of_peer(peer, is_trusted);
        session::run(self.context.clone(), policy, tcp, peer).await;
    }
}
