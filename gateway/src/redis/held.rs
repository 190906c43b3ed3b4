//! What the store sets aside for somebody is somebody's from the moment it is asked for: whoever asked and went away, or
//! was not answered in time, leaves nothing behind.

use filters::state::StateAway;
use redis::{FromRedisValue, ScriptInvocation};
use tokio::sync::oneshot;

use super::Redis;

/// What the store has set aside, or may have. Dropped before it is taken, it is given back.
struct Held<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Held<F> {
    fn take(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Held<F> {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

impl Redis {
    /// Asks for something to be set aside. Once answered, it is the caller's; it is given back when the answer does not
    /// come, or comes when nobody waits for it any more. Giving back what was refused must do no harm.
    pub(super) async fn hold<T: FromRedisValue + Send + 'static>(
        &self,
        script: ScriptInvocation<'static>,
        give_back: impl FnOnce() + Send + 'static,
    ) -> Result<T, StateAway> {
        if self.is_away() {
            return Err(StateAway);
        }
        let (answer, answered) = oneshot::channel();
        let (redis, held) = (self.clone(), Held(Some(give_back)));
        // On the control runtime, so that somebody hears the answer though whoever asked has gone.
        self.inner.control.spawn(async move {
            let said: Result<T, StateAway> = redis.ask(&script).await;
            drop(answer.send(said.map(|said| (said, held))));
        });
        let (said, held) = answered.await.map_err(|_| StateAway)??;
        held.take();
        Ok(said)
    }
}
