//! Who is let in, and how often.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use postrider_core::Timestamp;
use postrider_store::tokens::{Scope, Token, TokenSettings, TokenText};
use postrider_store::{SqliteOptions, SqliteStore};

use super::*;

#[derive(Debug)]
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

struct Door {
    guard: Guard,
    clock: Arc<HandClock>,
    store: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

/// Whom the guard let in, or the status of its answer.
type Answer = Result<String, u16>;

impl Door {
    fn new(api_token: Option<&str>, limits: RateLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let clock = Arc::new(HandClock(Mutex::new(Timestamp::from_millis(1_800_000_000_000))));
        let guard = Guard::new(api_token, limits, store.clone(), clock.clone());
        Self { guard, clock, store, _folder: folder }
    }

    fn pass(&self, seconds: u64) {
        let mut now = self.clock.0.lock().unwrap();
        *now = *now + Duration::from_secs(seconds);
    }

    async fn token(&self, change: impl FnOnce(&mut TokenSettings)) -> (Token, String) {
        let mut settings = TokenSettings {
            name: "shop".into(),
            scopes: vec![Scope::Send],
            domains: Vec::new(),
            expires_at: None,
            requests_per_minute: None,
        };
        change(&mut settings);
        let (mut token, TokenText(text)) = Token::new(settings, self.clock.now()).unwrap();
        token.save(self.store.as_ref(), self.clock.now()).await.unwrap();
        self.guard.forget_tokens();
        (token, text)
    }

    async fn ask(&self, method: Method, path: &str, fields: &[(&'static str, &str)], peer: &str) -> (Answer, Report) {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let asked = Asked { method: &method, path, headers: &headers, peer: peer.parse().ok() };
        let mut report = Report::default();
        let answer = match self.guard.admit(&asked, &mut report).await {
            Ok(principal) => Ok(principal.map_or_else(String::new, |principal| match principal.actor {
                Actor::Token(token) => token.settings.name.clone(),
                actor => actor.to_string(),
            })),
            Err(problem) => Err(problem.into_response().status().as_u16()),
        };
        (answer, report)
    }

    async fn get(&self, path: &str, authorization: &str) -> Answer {
        let fields = [("authorization", authorization)];
        let fields = if authorization.is_empty() { &[][..] } else { &fields };
        self.ask(Method::GET, path, fields, "192.0.2.7").await.0
    }

    async fn bearer(&self, token: &str) -> Answer {
        self.get("/api/emails", &format!("Bearer {token}")).await
    }
}

fn administrator() -> Answer {
    Ok("API_TOKEN".to_owned())
}

#[tokio::test]
async fn api_token_opens_everything() {
    let door = Door::new(Some("s3cret"), RateLimits::default());
    assert_eq!(door.get("/api/emails", "Bearer s3cret").await, administrator());
    assert_eq!(door.get("/api/emails", "bearer s3cret").await, administrator());
    for wrong in ["Bearer s3cre", "Bearer ", "Basic OnMzY3JldA==", "", "s3cret"] {
        assert_eq!(door.get("/api/emails", wrong).await, Err(401), "{wrong}");
    }
    assert_eq!(door.get("/", "").await, Err(401));
    assert_eq!(door.get("/sign-in", "").await, Ok(String::new()), "where one signs in");
    assert_eq!(door.get("/health", "").await, Ok(String::new()), "for load balancers");
    assert_eq!(door.get("/health", "Bearer s3cret").await, administrator());
    assert!(!format!("{:?}", door.guard).contains("s3cret"));
}

#[tokio::test]
async fn a_session_reads_and_changes_only_from_its_own_pages() {
    let door = Door::new(Some("s3cret"), RateLimits::default());
    assert_eq!(door.guard.sign_in("wrong", None).await.unwrap_err().into_response().status(), 401);
    let session = door.guard.sign_in("s3cret", None).await.unwrap().unwrap();
    let cookie = session.cookie(false);
    let cookie = cookie.to_str().unwrap().split_once(';').unwrap().0;
    let csrf = session.csrf_token();
    let peer = "192.0.2.7";
    assert_eq!(door.ask(Method::GET, "/api/emails", &[("cookie", cookie)], peer).await.0, administrator());
    assert_eq!(door.ask(Method::POST, "/api/queue/hold", &[("cookie", cookie)], peer).await.0, Err(403));
    let told = [("cookie", cookie), ("x-csrf-token", csrf.as_str())];
    assert_eq!(door.ask(Method::POST, "/api/queue/hold", &told, peer).await.0, administrator());
    let strange = [("cookie", cookie), ("x-csrf-token", csrf.as_str()), ("origin", "http://evil.example")];
    assert_eq!(door.ask(Method::POST, "/api/queue/hold", &strange, peer).await.0, Err(403));
    door.guard.sign_out(&session).await.unwrap();
    assert_eq!(door.ask(Method::GET, "/api/emails", &[("cookie", cookie)], peer).await.0, Err(401));
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions() {
    let door = Door::new(Some("s3cret"), RateLimits::default());
    let (token, text) = door.token(|settings| settings.scopes = vec![Scope::Read]).await;
    let session = door.guard.sign_in(&text, None).await.unwrap().unwrap();
    let cookie = session.cookie(false);
    let fields = [("cookie", cookie.to_str().unwrap().split_once(';').unwrap().0)];
    assert_eq!(door.ask(Method::GET, "/", &fields, "192.0.2.7").await.0, Ok("shop".to_owned()));
    Token::revoke(door.store.as_ref(), token.id).await.unwrap();
    door.guard.forget_tokens();
    assert_eq!(door.ask(Method::GET, "/", &fields, "192.0.2.7").await.0, Err(401));
}

#[tokio::test]
async fn without_api_token_this_machine_is_open_to_itself() {
    let door = Door::new(None, RateLimits::default());
    let ask = async |method: Method, fields: &[(&'static str, &str)]| {
        door.ask(method, "/api/emails/x/retry", fields, "127.0.0.1").await.0
    };
    let local = || Ok("local".to_owned());
    assert_eq!(ask(Method::POST, &[("host", "localhost:3000")]).await, local());
    assert_eq!(ask(Method::POST, &[("host", "localhost:3000"), ("origin", "http://localhost:3000")]).await, local());
    assert_eq!(ask(Method::GET, &[("host", "evil.example")]).await, Err(403), "a name that was rebound");
    assert_eq!(ask(Method::POST, &[("host", "evil.example"), ("origin", "http://evil.example")]).await, Err(403));
    assert_eq!(ask(Method::POST, &[("host", "localhost"), ("sec-fetch-site", "cross-site")]).await, Err(403));
    // Who says who that is, is that.
    let (_, text) = door.token(|_| {}).await;
    let bearer = format!("Bearer {text}");
    assert_eq!(ask(Method::GET, &[("host", "localhost"), ("authorization", &bearer)]).await, Ok("shop".to_owned()));
    let wrong = format!("Bearer {}0", &text[..text.len() - 1]);
    let wrong = if wrong == bearer { format!("Bearer {}1", &text[..text.len() - 1]) } else { wrong };
    assert_eq!(ask(Method::GET, &[("host", "localhost"), ("authorization", &wrong)]).await, Err(401));
}

#[tokio::test]
async fn a_token_opens_until_it_expires_or_is_revoked() {
    let door = Door::new(Some("s3cret"), RateLimits::default());
    let (token, text) = door.token(|_| {}).await;
    let in_a_minute = door.clock.now() + Duration::from_secs(60);
    let (_, short) = door.token(|settings| settings.expires_at = Some(in_a_minute)).await;
    assert_eq!(door.bearer(&text).await, Ok("shop".to_owned()));
    assert_eq!(door.bearer(&short).await, Ok("shop".to_owned()));
    assert_eq!(door.bearer(&text.replace("pr_", "pr-")).await, Err(401));

    door.pass(60);
    assert_eq!(door.bearer(&text).await, Ok("shop".to_owned()));
    assert_eq!(door.bearer(&short).await, Err(401));

    // By another node: a second later.
    Token::revoke(door.store.as_ref(), token.id).await.unwrap();
    assert_eq!(door.bearer(&text).await, Ok("shop".to_owned()));
    door.pass(1);
    assert_eq!(door.bearer(&text).await, Err(401));

    // By this one: at once.
    let (token, text) = door.token(|_| {}).await;
    assert_eq!(door.bearer(&text).await, Ok("shop".to_owned()));
    Token::revoke(door.store.as_ref(), token.id).await.unwrap();
    door.guard.forget_tokens();
    assert_eq!(door.bearer(&text).await, Err(401));
}

#[tokio::test]
async fn guessing_at_api_token_is_slowed_by_address() {
    let door = Door::new(Some("s3cret"), RateLimits::default());
    let (_, text) = door.token(|_| {}).await;
    for n in 0..10 {
        assert_eq!(door.bearer(&format!("guess{n}")).await, Err(401));
    }
    assert_eq!(door.bearer("guess").await, Err(429));
    assert_eq!(door.bearer("s3cret").await, Err(429), "else the answer would tell");
    assert_eq!(door.get("/health", "Bearer s3cret").await, Ok(String::new()), "here, too");
    assert_eq!(door.bearer(&text).await, Ok("shop".to_owned()), "what cannot be guessed is answered");
    let elsewhere = door.ask(Method::GET, "/api/emails", &[("authorization", "Bearer s3cret")], "192.0.2.8").await.0;
    assert_eq!(elsewhere, administrator());
    door.pass(6);
    assert_eq!(door.bearer("s3cret").await, administrator());
}

#[tokio::test]
async fn requests_are_limited_by_token_and_by_address() {
    let limits = RateLimits { token_requests_per_minute: Some(2), address_requests_per_minute: Some(4) };
    let door = Door::new(Some("s3cret"), limits);
    let (_, one) = door.token(|_| {}).await;
    let (_, more) = door.token(|settings| settings.requests_per_minute = Some(100)).await;
    let ask = async |token: &str, peer: &str| {
        let authorization = format!("Bearer {token}");
        let (answer, report) = door.ask(Method::GET, "/api/emails", &[("authorization", &authorization)], peer).await;
        let mut headers = HeaderMap::new();
        report.write(&mut headers);
        let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (answer.map(|_| ()), field("ratelimit-policy"), field("ratelimit"))
    };
    let first = ask(&one, "127.0.0.1").await;
    assert_eq!(first, (Ok(()), "\"token\";q=2;w=60".to_owned(), "\"token\";r=1;t=30".to_owned()));
    assert_eq!(ask(&one, "127.0.0.1").await.0, Ok(()));
    assert_eq!(ask(&one, "127.0.0.1").await, (Err(429), first.1, "\"token\";r=0;t=60".to_owned()));
    assert_eq!(ask(&more, "127.0.0.1").await.1, "\"token\";q=100;w=60", "its own limit");
    assert_eq!(ask("s3cret", "127.0.0.1").await, (Ok(()), String::new(), String::new()), "no limit");
    for _ in 0..4 {
        assert_eq!(ask("s3cret", "192.0.2.7").await.0, Ok(()));
    }
    let refused = ask("s3cret", "192.0.2.7").await;
    assert_eq!(refused, (Err(429), "\"address\";q=4;w=60".to_owned(), "\"address\";r=0;t=60".to_owned()));
    assert_eq!(door.get("/health", "").await, Ok(String::new()), "load balancers are answered");
}
