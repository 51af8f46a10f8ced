//! The hub: REST under `/api/v1` over the rules and the log, and the work that time brings.
//!
//! ```no_run
//! use server::{Hub, HubConfig};
//! let hub = Hub::start(&HubConfig::new("khub-data"))?;
//! println!("the hub answers at {}", hub.url());
//! hub.wait()?;
//! # Ok::<(), server::HubError>(())
//! ```
//!
//! One thread decides (`writer.rs`): it takes requests in the order of their arrival, changes its state,
//! commits the events of a whole batch at once, and only then answers. Everyone else reads. What is decided
//! is in [`desk`], which has no I/O and runs under the simulator as well. Handlers live
//! in one file for each sort of asker; an artifact's bytes leave through one function in `artifacts.rs`.
//! Nothing here dials a site: sites come and fetch their orders. `provider.rs` asks the provider that people sign in with.

mod access_log;
mod artifacts;
mod awards;
mod board;
mod calls;
mod clock;
mod custody;
pub mod desk;
mod device;
mod explain;
mod extract;
mod hub;
mod huggingface;
mod hush;
mod id_token;
mod in_time;
mod invitations;
mod invoices;
mod jobs;
mod leftovers;
mod lockout;
mod logs;
mod metrics;
mod mlflow;
mod money;
mod offers;
mod office;
mod openapi;
mod outgoing;
mod outlook;
mod pages;
mod part;
mod provider;
mod rate;
mod runs;
mod session;
mod sites;
mod tally;
mod uploads;
mod views;
mod writer;

pub use clock::Clock;
pub use desk::Granted;
pub use hub::{Hub, HubConfig, HubError};
pub use provider::{ProviderConfig, is_safe};

use axum::Router;
use hub::Shared;
use openapi::Routes;
use std::sync::{Arc, LazyLock};

/// The API's description: OpenAPI 3.1, as the hub serves it at `/api/v1/openapi.json` and `docs/openapi.json` has it.
pub fn openapi() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let document = serde_json::to_string_pretty(&routes().document());
        document.expect("the document is plain data") + "\n"
    });
    &DOCUMENT
}

fn routes() -> Routes {
    openapi::routes()
        .merge(office::routes())
        .merge(invitations::routes())
        .merge(offers::routes())
        .merge(jobs::routes())
        .merge(logs::routes())
        .merge(session::routes())
        .merge(sites::routes())
        .merge(artifacts::routes())
        .merge(uploads::routes())
        .merge(leftovers::routes())
        .merge(awards::routes())
        .merge(board::routes())
        .merge(calls::routes())
        .merge(device::routes())
        .merge(explain::routes())
        .merge(invoices::routes())
        .merge(money::routes())
        .merge(runs::routes())
}

fn router(shared: Arc<Shared>) -> Router {
    let api = routes()
        .into_router()
        .fallback(extract::no_such_address)
        .method_not_allowed_fallback(extract::no_such_method);
    Router::new()
        .nest("/api/v1", api)
        .merge(huggingface::routes())
        .merge(mlflow::routes())
        .merge(metrics::routes())
        .merge(pages::routes())
        .merge(session::callback())
        .merge(device::oauth())
        .fallback(extract::no_such_address)
        .layer(axum::middleware::from_fn(hush::even_out))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&shared),
            metrics::count,
        ))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&shared),
            access_log::note,
        ))
        .with_state(shared)
}
