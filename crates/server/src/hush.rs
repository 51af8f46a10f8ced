//! Something that an asker may not know of isn't there for them: the answer is that of what doesn't exist. But to find that
//! out takes the policy a while that a name nobody has doesn't take, and whoever measures often enough could tell the two
//! apart. So no 404 leaves before its time.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::time::{Duration, Instant};

/// A 404 leaves when a multiple of this has passed since its request came: long enough for what decides it, in nearly all
/// cases within the first.
const STEP: Duration = Duration::from_millis(5);

/// Lets a 404 wait.
pub(crate) async fn even_out(request: Request, next: Next) -> Response {
    let came = Instant::now();
    let response = next.run(request).await;
    if response.status() == StatusCode::NOT_FOUND {
        // The runtime's own timer goes by milliseconds since it was set, which tells when that was.
        let leaves = came + leaves_after(came.elapsed());
        let wait = move || std::thread::sleep(leaves.saturating_duration_since(Instant::now()));
        // It only fails where the runtime stops.
        let _ = tokio::task::spawn_blocking(wait).await;
    }
    response
}

/// How long after its request an answer leaves that took so long.
fn leaves_after(took: Duration) -> Duration {
    let steps = took.as_nanos() / STEP.as_nanos() + 1;
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_little_longer_leaves_at_the_same_time() {
        let millis = Duration::from_millis;
        for (took, leaves) in [(0, 5), (1, 5), (4, 5), (5, 10), (12, 15)] {
            assert_eq!(leaves_after(millis(took)), millis(leaves));
        }
        assert!(leaves_after(Duration::MAX) >= millis(5));
    }
}
