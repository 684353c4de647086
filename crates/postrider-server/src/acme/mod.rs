//! The certificate from an authority: got when there is none, renewed in time, the same for all nodes on one store.
//!
//! Every node looks at what the store has. One at a time asks the authority; each can answer it. Whatever fails leaves the
//! certificate in use alone.

mod answer;
mod certificate;
mod order;
mod renewal;
mod transport;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use postrider_config::Acme as AcmeSettings;
use postrider_core::{Clock, ObjectId, Timestamp};
use postrider_store::acme::{AcmeCertificate, AcmeChallenge, AcmeFailure, AcmeOrders, AcmeTurn};
use postrider_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tracing::{debug, error, info, warn};

pub(crate) use self::answer::Answerer;
use self::order::{NotGiven, Ordering};
use self::renewal::Task;
use self::transport::Transport;
use crate::http::HttpClient;
use crate::tls::ServerTls;

/// How often a node looks whether another has got a new certificate, and whether the time for one has come.
const LOOK: Duration = Duration::from_secs(30);

/// How long after the first failure the authority is asked again; twice as long after each further one. It lets a name be
/// proven only a few times an hour.
const RETRY_FIRST: Duration = Duration::from_secs(5 * 60);
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// The longest wait that an authority can ask for.
const RETRY_ASKED_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a certificate is kept that has ended.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much longer than an order a turn lasts: what is to be recorded of it comes after.
const TURN_MARGIN: Duration = Duration::from_secs(300);

/// Gets the certificate and puts it into use.
#[derive(Debug)]
pub(crate) struct Acme {
    settings: AcmeSettings,
    directory_url: String,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tls: Arc<ServerTls>,
    http: HttpClient,
    /// This process among the nodes.
    node: String,
    order_max: Duration,
    known: Mutex<Known>,
    urgent: Notify,
}

/// What is known here of the kept certificate.
#[derive(Debug, Default)]
struct Known {
    /// Of its note; 0 for none.
    version: u64,
    /// Whether that one is in use.
    is_installed: bool,
}

impl Acme {
    /// `None` where the settings want none. `http`: to the world.
    pub(crate) fn new(
        settings: &AcmeSettings,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tls: Arc<ServerTls>,
        http: HttpClient,
        order_max: Duration,
    ) -> Option<Self> {
        let directory_url = settings.directory_url.as_ref().filter(|_| settings.enabled)?.to_string();
        let node = ObjectId::new(clock.now()).to_string();
        let settings = settings.clone();
        Some(Self {
            settings,
            directory_url,
            store,
            clock,
            tls,
            http,
            node,
            order_max,
            known: Mutex::default(),
            urgent: Notify::new(),
        })
    }

    /// Puts the kept certificate into use. Where there is none for these names, because the settings have named others until now, one
    /// for some of them serves until there is.
    pub(crate) async fn use_kept(&self) {
        let installing = async {
            if self.install_kept().await?.is_none() {
                self.install_another(&AcmeCertificate::all(self.store.as_ref()).await?);
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = installing.await {
            debug!(%error, "the certificate in the store cannot be looked at");
        }
    }

    fn install_another(&self, all: &[AcmeCertificate]) {
        let now = self.clock.now();
        let names = |kept: &AcmeCertificate| certificate::names_held(kept, &self.settings.domains);
        let valid = all.iter().filter(|kept| kept.not_before <= now && now < kept.not_after);
        let Some(best) = valid.max_by_key(|kept| (names(kept), kept.not_after)).filter(|kept| names(kept) > 0) else {
            return;
        };
        match self.install(best) {
            Ok(()) => {
                info!(not_after = %best.not_after, "the certificate of before, for other names, serves until there is one")
            }
            Err(error) => debug!(%error, "the certificate of before cannot be used"),
        }
    }

    fn install(&self, kept: &AcmeCertificate) -> Result<(), String> {
        let (chain, key) = certificate::usable(kept)?;
        self.tls.install(chain, key).map_err(|error| error.to_string())
    }

    /// Has the authority asked now if a certificate is due, whatever failed before; unless it forbids that.
    pub(crate) fn hurry(&self) {
        self.urgent.notify_one();
    }

    /// Looks after the certificate until the server shuts down.
    pub(crate) async fn run(self: Arc<Self>, mut draining: Receiver<bool>) {
        let mut is_urgent = false;
        loop {
            if let Err(error) = self.look(is_urgent, &mut draining).await {
                debug!(%error, "the certificate in the store cannot be looked at");
            }
            is_urgent = tokio::select! {
                () = self.clock.sleep(LOOK) => false,
                () = self.urgent.notified() => true,
                _ = draining.wait_for(|&draining| draining) => return,
            }
        }
    }

    /// Does what is due, if it is this node's turn.
    async fn look(&self, is_urgent: bool, draining: &mut Receiver<bool>) -> Result<(), StoreError> {
        let (store, domains) = (self.store.as_ref(), &self.settings.domains);
        let kept = self.install_kept().await?;
        let orders = AcmeOrders::find(store, domains).await?;
        if self.task(kept.as_ref(), &orders) == Task::Nothing {
            return Ok(());
        }
        let lease = self.order_max + TURN_MARGIN;
        let turn = AcmeOrders::take_turn(store, domains, &self.node, self.clock.now(), lease, is_urgent).await?;
        let Some(turn) = turn else { return Ok(()) };
        // Another may have had the turn until just now.
        let kept = self.install_kept().await?;
        match (self.task(kept.as_ref(), turn.orders()), kept) {
            (Task::Order, kept) => self.order(turn, kept.as_ref(), draining).await,
            (Task::Ask, Some(kept)) => self.ask(turn, &kept, draining).await,
            (Task::Ask | Task::Nothing, _) => turn.give_back(store).await,
        }
    }

    fn task(&self, kept: Option<&AcmeCertificate>, orders: &AcmeOrders) -> Task {
        match kept.filter(|kept| kept.directory_url == self.directory_url) {
            Some(kept) => renewal::task(kept, orders.renewal.as_ref(), self.clock.now()),
            None => Task::Order,
        }
    }

    /// Asks the authority when it wants the certificate renewed. That it does not say is no failure.
    async fn ask(
        &self,
        turn: AcmeTurn,
        kept: &AcmeCertificate,
        draining: &mut Receiver<bool>,
    ) -> Result<(), StoreError> {
        let store = self.store.as_ref();
        let Some(identifier) = renewal::identifier(kept) else { return turn.give_back(store).await };
        let ordering = self.ordering(None);
        let asked = tokio::select! {
            asked = ordering.window(&identifier) => asked,
            () = self.clock.sleep(self.order_max) => Err(NotGiven("the authority does not answer".to_owned())),
            _ = draining.wait_for(|&draining| draining) => Ok(None),
        };
        if *draining.borrow() {
            return turn.give_back(store).await;
        }
        let window = asked.unwrap_or_else(|error| {
            debug!(%error, "the authority does not say when it wants the certificate renewed");
            None
        });
        let (known, again) = (turn.orders().renewal.clone(), ordering.transport.retry_at());
        let (now, chance) = (self.clock.now(), crate::random_fraction());
        let wish = renewal::renewal(identifier.to_string(), window.as_ref(), again, known.as_ref(), now, chance);
        if let Some(at) = wish.at.filter(|&at| at < kept.renew_at && known.and_then(|known| known.at) != Some(at)) {
            info!(%at, "the authority wants the certificate renewed earlier than usual");
        }
        turn.end_asking(store, wish).await
    }

    /// Asks the authority for a certificate, and records what came of it.
    async fn order(
        &self,
        turn: AcmeTurn,
        kept: Option<&AcmeCertificate>,
        draining: &mut Receiver<bool>,
    ) -> Result<(), StoreError> {
        let (store, domains) = (self.store.as_ref(), &self.settings.domains);
        let knows_replaced = turn.orders().renewal.as_ref().is_some_and(|renewal| renewal.window.is_some());
        let replaced = kept.filter(|kept| knows_replaced && kept.directory_url == self.directory_url);
        let ordering = self.ordering(replaced.and_then(renewal::identifier));
        let ordered = tokio::select! {
            ordered = self.certificate(&ordering) => Some(ordered),
            _ = draining.wait_for(|&draining| draining) => None,
        };
        let outcome = match ordered {
            Some(Ok(certificate)) => {
                certificate.keep(store, domains).await.map_err(NotGiven::from).map(|()| certificate)
            }
            Some(Err(error)) => Err(error),
            None => return turn.give_back(store).await,
        };
        match outcome {
            Ok(certificate) => {
                info!(
                    domains = domains.join(","),
                    not_after = %certificate.not_after,
                    renewal = %certificate.renew_at,
                    "the authority has given a certificate"
                );
                turn.end(store, None).await?;
                self.install_kept().await.map(|_| ())
            }
            Err(error) => {
                let asked = ordering.transport.retry_at();
                let failure = self.failure(turn.failures().saturating_add(1), error.to_string(), asked);
                warn!(
                    domains = domains.join(","),
                    %error,
                    retry = %failure.retry_at,
                    ends = kept.map(|kept| tracing::field::display(kept.not_after)),
                    "no certificate from the authority; the one in use stays, and postrider check looks for the cause"
                );
                turn.end(store, Some(failure)).await
            }
        }
    }

    fn ordering(&self, replaces: Option<CertificateIdentifier<'static>>) -> Ordering<'_> {
        Ordering {
            settings: &self.settings,
            directory_url: &self.directory_url,
            store: self.store.as_ref(),
            clock: self.clock.as_ref(),
            transport: Transport::new(self.http.clone(), self.clock.clone()),
            replaces,
            until: self.clock.now() + self.order_max,
        }
    }

    /// Asks the authority once, for as long as an order may take, and takes away what was shown to it.
    async fn certificate(&self, ordering: &Ordering<'_>) -> Result<AcmeCertificate, NotGiven> {
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        let now = clock.now();
        AcmeChallenge::withdraw_old(store, now).await?;
        AcmeCertificate::forget_ended(store, now - FORGOTTEN_AFTER).await?;
        let mut published = Vec::new();
        let ordered = tokio::select! {
            ordered = ordering.certificate(&mut published) => ordered,
            () = clock.sleep(self.order_max) => {
                Err(NotGiven(format!("the authority was not done with the order after {} s", self.order_max.as_secs())))
            }
        };
        for shown in &published {
            // What stays is taken away by the next order.
            if let Err(error) = AcmeChallenge::withdraw(store, shown.key()).await {
                debug!(%error, "what was shown to the authority stays in the store for now");
            }
        }
        ordered
    }

    /// Puts the kept certificate into use if it is not yet, and returns it.
    async fn install_kept(&self) -> Result<Option<AcmeCertificate>, StoreError> {
        let Some((kept, version)) = AcmeCertificate::find(self.store.as_ref(), &self.settings.domains).await? else {
            return Ok(None);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            let put = self.install(&kept);
            match &put {
                Ok(()) => info!(not_after = %kept.not_after, "the certificate from the authority is in use"),
                Err(error) => {
                    error!(%error, "the certificate in the store cannot be used; the one in use stays until there is another");
                }
            }
            *known = Known { version, is_installed: put.is_ok() };
        }
        Ok(known.is_installed.then_some(kept))
    }

    fn failure(&self, count: u32, error: String, asked: Option<Timestamp>) -> AcmeFailure {
        let at = self.clock.now();
        // A tenth of jitter either way.
        let wait = backoff(count).mul_f64(0.9 + 0.2 * crate::random_fraction());
        let barred_until = asked.map(|asked| asked.min(at + RETRY_ASKED_MAX));
        AcmeFailure { count, at, error, retry_at: barred_until.unwrap_or(at).max(at + wait), barred_until }
    }
}

/// How long is waited after so many failures.
fn backoff(failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    RETRY_FIRST.saturating_mul(factor).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_further_and_further_apart() {
        let minutes = |failures| backoff(failures).as_secs() / 60;
        assert_eq!([1, 2, 3, 7, 32, 33, u32::MAX].map(minutes), [5, 10, 20, 320, 360, 360, 360]);
    }
}
