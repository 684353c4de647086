//! A Postrider started inside the test, in a [`Site`], on a clock that the test may hold.

use std::io::ErrorKind;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use postrider::administration::settings_view;
use postrider::app::{App, Ports, StartError};
use postrider_config::{Profile, Sources};
use postrider_core::{Clock, EmailStatus, ObjectId, Timestamp};
use postrider_server::clock::SystemClock;
use postrider_store::{EmailDetail, EmailFilter, EmailRecord, Store, StoreError};

use crate::{ClientReply, HttpRequest, HttpResponse, LineClient, ManualClock, Site, eventually};

/// The longest leap of [`TestPostrider::pass`].
const LEAP_MAX: Duration = Duration::from_secs(30);

/// How many looks of [`TestPostrider::wait_for_status`] and its kin pass before they let a second go by: the server may
/// have gone to sleep for a moment that only a moving clock ends.
const LOOKS_PER_SECOND: u32 = 20;

/// A started server. It ends with [`TestPostrider::shut_down`]; dropped, its tasks end with the test's runtime.
#[derive(Debug)]
pub struct TestPostrider {
    site: Site,
    app: App,
    clock: TestClock,
}

/// A server's time.
#[derive(Debug, Clone)]
enum TestClock {
    Manual(ManualClock),
    System,
}

impl Site {
    /// Starts a server here whose clock stands still until the test moves it.
    ///
    /// # Panics
    ///
    /// When the settings are refused, or the server does not start.
    pub async fn start(self) -> TestPostrider {
        TestPostrider::start(self, TestClock::Manual(ManualClock::new())).await
    }

    /// Starts a server here on a clock that others go by, too.
    ///
    /// # Panics
    ///
    /// When the settings are refused, or the server does not start.
    pub async fn start_on(self, clock: &ManualClock) -> TestPostrider {
        TestPostrider::start(self, TestClock::Manual(clock.clone())).await
    }

    /// Starts a server here on the machine's clock: for tests that other programs take part in.
    ///
    /// # Panics
    ///
    /// When the settings are refused, or the server does not start.
    pub async fn start_in_real_time(self) -> TestPostrider {
        TestPostrider::start(self, TestClock::System).await
    }
}

impl TestPostrider {
    async fn start(site: Site, clock: TestClock) -> Self {
        let sources = Sources::from_variables(site.environment().clone());
        let loaded = postrider_config::load(Profile::Serve, sources).unwrap_or_else(|errors| panic!("{errors}"));
        let port: Arc<dyn Clock> = match &clock {
            TestClock::Manual(clock) => Arc::new(clock.clone()),
            TestClock::System => Arc::new(SystemClock),
        };
        let app = eventually("the server to start", async || {
            let started = async {
                let store = site.store().await?;
                let shown_settings = settings_view(&loaded);
                let (clock, limits) = (port.clone(), site.limits());
                let ports = Ports { clock, limits, store, shown_settings, ..Ports::default() };
                App::start(loaded.settings.clone(), ports).await
            };
            match started.await {
                Ok(app) => Some(app),
                Err(error) if may_pass(&error) => None,
                Err(error) => panic!("the server does not start: {error}"),
            }
        })
        .await;
        Self { site, app, clock }
    }

    /// Shuts the server down, as SIGTERM does, and gives the site back.
    pub async fn shut_down(self) -> Site {
        self.app.shutdown().await;
        self.site
    }

    /// Shuts the server down and starts another one on the same store, settings and clock.
    pub async fn restart(self) -> Self {
        let clock = self.clock.clone();
        let site = self.shut_down().await;
        Self::start(site, clock).await
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.app.store()
    }

    /// # Panics
    ///
    /// When the server runs in real time.
    pub fn clock(&self) -> &ManualClock {
        match &self.clock {
            TestClock::Manual(clock) => clock,
            TestClock::System => panic!("this server runs in real time"),
        }
    }

    pub fn now(&self) -> Timestamp {
        match &self.clock {
            TestClock::Manual(clock) => clock.now(),
            TestClock::System => Timestamp::system(),
        }
    }

    /// Adds a user who may log in.
    ///
    /// # Panics
    ///
    /// When the address is none, or the store refuses.
    pub async fn add_user(&self, address: &str, password: &str) {
        let address = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
        let user = postrider_server::users::new_user(address, password, self.now());
        let user = user.unwrap_or_else(|error| panic!("the user cannot be made: {error}"));
        self.store().add_user(user).await.unwrap_or_else(|error| panic!("the user cannot be stored: {error}"));
    }

    /// Connects to the applications' port and says EHLO.
    pub async fn client(&self) -> LineClient {
        LineClient::hello(self.smtp()).await
    }

    /// Hands a message in at the applications' port; gives its id.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub async fn send(&self, sender: &str, recipients: &[&str], data: &[u8]) -> ObjectId {
        let mut client = self.client().await;
        let reply = client.send_mail(sender, recipients, data).await;
        let id = self.accepted(&reply).await;
        client.demand("QUIT", 221).await;
        id
    }

    /// The id of a message that was answered so.
    ///
    /// # Panics
    ///
    /// When that is no acceptance.
    pub async fn accepted(&self, reply: &ClientReply) -> ObjectId {
        assert_eq!(reply.code, 250, "{}", reply.text());
        match reply.id().and_then(|id| id.parse().ok()) {
            Some(id) => id,
            None => panic!("no id in {:?}", reply.text()),
        }
    }

    /// All e-mails, newest first.
    ///
    /// # Panics
    ///
    /// When the store cannot be read.
    pub async fn emails(&self) -> Vec<EmailRecord> {
        let page = self.store().list(&EmailFilter::default(), 1, 10_000).await;
        page.unwrap_or_else(|error| panic!("the store cannot be read: {error}")).emails
    }

    /// One e-mail.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub async fn email(&self, id: ObjectId) -> EmailDetail {
        let detail = self.store().email(id).await.unwrap_or_else(|error| panic!("the store cannot be read: {error}"));
        detail.unwrap_or_else(|| panic!("no e-mail {id}"))
    }

    /// Waits until an e-mail has a status.
    ///
    /// # Panics
    ///
    /// When it does not get it.
    pub async fn wait_for_status(&self, id: ObjectId, status: EmailStatus) -> EmailDetail {
        self.wait_for(id, &format!("{id} to be {status}"), |detail| detail.email.status == status).await
    }

    /// Waits until an e-mail has been deferred after this many attempts, all of its deliveries at rest.
    pub async fn wait_for_deferred(&self, id: ObjectId, attempts: u32) -> EmailDetail {
        self.wait_for(id, &format!("{id} to be deferred after attempt {attempts}"), |detail| {
            detail.email.status == EmailStatus::Deferred && detail.email.attempts == attempts
        })
        .await
    }

    /// Waits until there are `count` e-mails; gives them, newest first.
    pub async fn wait_for_emails(&self, count: usize) -> Vec<EmailRecord> {
        eventually(&format!("{count} e-mails"), async || {
            let emails = self.emails().await;
            (emails.len() >= count).then_some(emails)
        })
        .await
    }

    /// Moves the clock to an e-mail's next attempt, and past it by as much as the queue needs to see it.
    ///
    /// # Panics
    ///
    /// When it waits for no attempt.
    pub async fn advance_to_next_attempt(&self, id: ObjectId) {
        let detail = self.email(id).await;
        let at = detail.email.next_attempt_at.unwrap_or_else(|| panic!("{id} waits for no attempt: {detail:?}"));
        self.pass(at.since(self.now()) + Duration::from_secs(2)).await;
    }

    /// Lets time pass, in leaps that give the server's tasks occasion to notice.
    pub async fn pass(&self, duration: Duration) {
        let mut rest = duration;
        while !rest.is_zero() {
            let leap = rest.min(LEAP_MAX);
            self.clock().leap(leap).await;
            rest -= leap;
        }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> HttpResponse {
        HttpRequest::get(path).send(self.api()).await
    }

    pub async fn request(&self, request: HttpRequest) -> HttpResponse {
        request.send(self.api()).await
    }

    async fn wait_for(&self, id: ObjectId, what: &str, is_so: impl Fn(&EmailDetail) -> bool) -> EmailDetail {
        let mut last = None;
        let mut looks = 0;
        let waiting = eventually(what, async || {
            looks += 1;
            if let (TestClock::Manual(clock), true) = (&self.clock, looks % LOOKS_PER_SECOND == 0) {
                clock.leap(Duration::from_secs(1)).await;
            }
            let detail = self.email(id).await;
            let found = is_so(&detail).then(|| detail.clone());
            last = Some(detail);
            found
        });
        let guard = Duration::from_secs(crate::GUARD_SECONDS - 1);
        let found = tokio::time::timeout(guard, waiting).await;
        match found {
            Ok(detail) => detail,
            Err(_) => panic!("waited in vain for {what}; it is {last:#?}"),
        }
    }
}

/// Whether a server before this one may still stand in the way. A child process that another test is just starting shares,
/// for the moment until it runs its program, the lock on the store and the sockets that the server before had.
fn may_pass(error: &StartError) -> bool {
    match error {
        StartError::Store(StoreError::Unavailable(_)) => true,
        StartError::Api { error, .. } | StartError::Server(postrider_server::StartError::Bind { error, .. }) => {
            error.kind() == ErrorKind::AddrInUse
        }
        _ => false,
    }
}

impl Deref for TestPostrider {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}
