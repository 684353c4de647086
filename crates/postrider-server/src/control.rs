//! What web and command line may ask of the running server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use postrider_core::metrics::MetricFamily;
use postrider_core::ports::{ListenerStatus, MemoryLease, SmtpStats, WebhookTest};
use postrider_core::queue::{DeliveryPlace, DomainLine};
use postrider_core::source::{BreakerState, IpSelectionStats, IpSelectionTest};
use postrider_core::{
    Control, ControlError, Domain, ObjectId, SourceQuestion, Submission, SubmissionError, SubmissionLimits, Submitted,
    Timestamp,
};
use tracing::info;

use crate::acme::Acme;
use crate::smtp::{Context, Submissions};

#[derive(Debug)]
pub(crate) struct ServerControl {
    pub(crate) context: Arc<Context>,
    pub(crate) submissions: Submissions,
    /// `None`: the certificate comes from elsewhere.
    pub(crate) acme: Option<Arc<Acme>>,
    pub(crate) started_at: Timestamp,
    pub(crate) listeners: Mutex<Vec<ListenerStatus>>,
}

#[async_trait]
impl Control for ServerControl {
    fn kick_queue(&self) {
        self.context.queue.kick();
        self.context.queue.heed_orders();
    }

    fn node(&self) -> Option<ObjectId> {
        self.context.queue.node()
    }

    fn delivery_places(&self, email: ObjectId) -> Vec<DeliveryPlace> {
        self.context.queue.delivery_places(email)
    }

    fn domain_lines(&self, domains: &[Domain]) -> Vec<DomainLine> {
        self.context.queue.domain_lines(domains)
    }

    fn smtp_stats(&self) -> SmtpStats {
        self.context.stats.snapshot(self.context.memory.used_bytes())
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        let is_breaker_open = self.context.sources.stats().breaker.state != BreakerState::Closed;
        self.context.stats.gather(self.context.memory.used_bytes(), is_breaker_open)
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let draining = *self.context.draining.borrow();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in &mut listeners {
            listener.open &= !draining;
        }
        listeners
    }

    fn uptime(&self) -> Duration {
        self.context.clock.now().since(self.started_at)
    }

    fn ip_selection_stats(&self) -> IpSelectionStats {
        self.context.sources.stats()
    }

    fn clear_ip_selection_cache(&self) -> usize {
        let count = self.context.sources.clear_cache();
        info!(answers = count, "the answers of the source-IP service were forgotten");
        count
    }

    async fn test_ip_selection(&self, question: SourceQuestion) -> Result<IpSelectionTest, ControlError> {
        let test = self.context.sources.test(question).await;
        test.ok_or_else(|| ControlError("IP_SELECTION_ENABLED is false: there is no service to ask".to_owned()))
    }

    async fn refresh_webhooks(&self) {
        if let Err(error) = self.context.webhooks.look_up_endpoints().await {
            self.context.queue.store_failed("the webhook endpoints cannot be looked up", &error);
        }
        self.context.webhooks.kick();
    }

    async fn test_webhook(&self, endpoint: ObjectId) -> Result<WebhookTest, ControlError> {
        self.context.webhooks.test(endpoint).await
    }

    fn webhook_url_secret(&self, url: &str) -> Option<String> {
        self.context.webhooks.secret_of(url).map(|secret| secret.0)
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, SubmissionError> {
        self.submissions.take(&self.context, submission).await
    }

    fn submission_limits(&self) -> SubmissionLimits {
        self.submissions.limits
    }

    fn lease_memory(&self) -> Box<dyn MemoryLease> {
        Box::new(self.context.memory.share())
    }

    async fn reload(&self) -> Result<(), ControlError> {
        match self.context.tls.refresh() {
            Ok(true) => info!(file = %self.context.tls.cert_file().display(), "the certificate was reread"),
            Ok(false) => {}
            Err(error) => return Err(ControlError(format!("{error}; the old certificate stays in use"))),
        }
        if let Some(acme) = &self.acme {
            acme.hurry();
        }
        Ok(())
    }
}
