//! What may take longer than whoever asks would wait: they are told in time that it isn't done yet, and it goes on.

use crate::hub::Shared;
use api::Problem;
use std::time::Duration;

/// So long whoever asks waits; less than what clients and proxies allow by default.
const PATIENCE: Duration = Duration::from_secs(8);
/// When to ask again.
const AGAIN: Duration = Duration::from_secs(1);

impl Shared {
    /// Has another thread do the work, of which `doing` says what it is.
    pub(crate) async fn in_time<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let working = tokio::task::spawn_blocking(work);
        match tokio::time::timeout(PATIENCE, working).await {
            Ok(done) => done.map_err(|e| Problem::new(500, "internal", e.to_string())),
            Err(_) => {
                let detail = format!("the hub is still {doing}");
                let hint = "ask again; it goes on meanwhile";
                Err(Problem::new(503, "unavailable", detail)
                    .hint(hint)
                    .retry_after(AGAIN))
            }
        }
    }
}
