//! Rate counters in Redis: `menshen:rate:HASH`.

use std::time::Duration;

use filters::state::{RateStore, Standing, StateAway, Take};
use futures_util::future::BoxFuture;

use super::{RATE, Redis};

impl RateStore for Redis {
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Result<Vec<Standing>, StateAway>> {
        let redis = self.clone();
        Box::pin(async move {
            let mut script = RATE.prepare_invoke();
            for take in &takes {
                let quota = take.quota.in_micros();
                script.key(format!("menshen:rate:{}", hex::encode(take.key)));
                script.arg(quota.interval().as_micros() as u64).arg(quota.capacity());
            }
            let answer: Vec<u64> = redis.ask(&script).await?;
            if answer.len() != 2 * takes.len() {
                return Err(StateAway);
            }
            let standings = takes.iter().zip(answer.chunks_exact(2)).map(|(take, answer)| {
                let debt = Duration::from_micros(answer[1]);
                take.quota.in_micros().stands(debt, answer[0] == 1)
            });
            Ok(standings.collect())
        })
    }
}
