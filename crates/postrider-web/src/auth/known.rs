//! The tokens as they were a moment ago, so that a request asks the store for nothing; and noting, now and then, that one is used.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use postrider_core::{Clock, Timestamp};
use postrider_store::tokens::{self, Presented, Scope, Token, TokenId};
use postrider_store::{Store, StoreError};

/// What was looked up holds for so long: a token that is revoked elsewhere is good for a second at most.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// A token's use is noted no more often.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// All tokens, remembered.
pub(super) struct KnownTokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    /// Held while tokens are looked up: once for all who wait.
    looking_up: tokio::sync::Mutex<()>,
    noted: Mutex<HashMap<TokenId, Timestamp>>,
}

#[derive(Default)]
struct Known {
    tokens: HashMap<TokenId, Arc<Token>>,
    /// `None`: to be looked up.
    at: Option<Timestamp>,
    /// How often tokens were changed here: what was read before a change is not remembered behind it.
    changes: u64,
}

impl KnownTokens {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            known: RwLock::default(),
            looking_up: tokio::sync::Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// The token that is presented; `None` where it is none, is revoked or has expired.
    pub(super) async fn find(&self, presented: &Presented) -> Result<Option<Arc<Token>>, StoreError> {
        let now = self.clock.now();
        let found = self.by_id(presented.id, now).await?;
        Ok(self.used(found.filter(|token| token.is(presented)), now))
    }

    /// The token that somebody presented once; `None` where it is revoked or has expired since.
    pub(super) async fn still(&self, id: TokenId) -> Result<Option<Arc<Token>>, StoreError> {
        let now = self.clock.now();
        let found = self.by_id(id, now).await?;
        Ok(self.used(found, now))
    }

    /// Whether a token that was good for something still is. What cannot be looked up now is left as it was.
    pub(super) async fn stands(&self, token: &Token, scope: Scope) -> bool {
        match self.by_id(token.id, self.clock.now()).await {
            Ok(found) => found.is_some_and(|found| found.settings.has(scope)),
            Err(_) => true,
        }
    }

    async fn by_id(&self, id: TokenId, now: Timestamp) -> Result<Option<Arc<Token>>, StoreError> {
        let found = match self.known(id, now) {
            Some(found) => found,
            None => self.look_up(id, now).await?,
        };
        Ok(found.filter(|token| !token.has_expired(now)))
    }

    async fn look_up(&self, id: TokenId, now: Timestamp) -> Result<Option<Arc<Token>>, StoreError> {
        let _one_at_a_time = self.looking_up.lock().await;
        if let Some(found) = self.known(id, now) {
            return Ok(found);
        }
        let changes = self.known.read().unwrap_or_else(PoisonError::into_inner).changes;
        let all = Token::all(self.store.as_ref()).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.tokens = all.into_iter().map(|token| (token.id, Arc::new(token))).collect();
        known.at = (known.changes == changes).then_some(now);
        Ok(known.tokens.get(&id).cloned())
    }

    /// Tokens were changed here: they are looked up for the next request.
    pub(super) fn forget(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.at = None;
        known.changes += 1;
    }

    /// `None` where what is known is too old to say.
    fn known(&self, id: TokenId, now: Timestamp) -> Option<Option<Arc<Token>>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known.at.is_some_and(|at| now.since(at) < KNOWN_FOR);
        is_fresh.then(|| known.tokens.get(&id).cloned())
    }

    /// Notes that a token is used, if that was not done a moment ago. Nobody waits for it.
    fn used(&self, token: Option<Arc<Token>>, now: Timestamp) -> Option<Arc<Token>> {
        let id = token.as_ref()?.id;
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&id).is_some_and(|&at| now.since(at) < NOTED_EVERY) {
                return token;
            }
            if noted.len() >= tokens::TOKENS_MAX {
                noted.retain(|_, at| now.since(*at) < NOTED_EVERY);
            }
            noted.insert(id, now);
        }
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = tokens::note_use(store.as_ref(), id, now).await {
                tracing::debug!(%error, token.id = %id, "the use of a token could not be noted");
            }
        });
        token
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownTokens").finish_non_exhaustive()
    }
}
