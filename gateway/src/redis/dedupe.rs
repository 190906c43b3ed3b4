//! Stored files in Redis: `menshen:file:HASH`.

use std::time::Duration;

use filters::state::{Fingerprint, Fingerprints, StateAway};
use futures_util::future::BoxFuture;

use super::{DEDUPE, Redis, millis};

impl Fingerprints for Redis {
    fn find(&self, files: &[Fingerprint]) -> BoxFuture<'static, Result<Vec<Option<String>>, StateAway>> {
        let (redis, keys) = (self.clone(), keys(files));
        Box::pin(async move {
            let mut script = DEDUPE.prepare_invoke();
            for key in &keys {
                script.key(key);
            }
            let found: Vec<Option<String>> = redis.ask(script.arg("find")).await?;
            if found.len() == keys.len() { Ok(found) } else { Err(StateAway) }
        })
    }

    fn remember(
        &self,
        files: &[Fingerprint],
        request_id: &str,
        lifetime: Duration,
    ) -> BoxFuture<'static, Result<(), StateAway>> {
        let mut script = DEDUPE.prepare_invoke();
        for key in keys(files) {
            script.key(key);
        }
        script.arg("remember").arg(request_id).arg(millis(lifetime));
        self.insist(script)
    }
}

fn keys(files: &[Fingerprint]) -> Vec<String> {
    files.iter().map(|file| format!("menshen:file:{}", hex::encode(file))).collect()
}
