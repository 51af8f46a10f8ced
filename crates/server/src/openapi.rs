//! The API's routes and the document that describes them, from one declaration.
//!
//! What a route takes and gives is read off its handler's signature: each extractor and each answer tells its part
//! (see [`Tells`]). So there is no route without a description, and no description of anything else.

mod operation;
mod schemas;
mod tells;

pub(crate) use operation::Operation;
pub(crate) use tells::Tells;

use crate::hub::Shared;
use axum::Router;
use axum::handler::Handler;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use schemas::Schemas;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tells::Described;

/// Routes of the API, each with what it takes and gives.
pub(crate) struct Routes {
    router: Router<Arc<Shared>>,
    /// What they are about.
    tag: &'static str,
    described: Vec<Route>,
}

struct Route {
    tag: &'static str,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    tell: fn(&mut Operation<'_>),
    /// Statuses of problems besides those that the handler's parts tell.
    or: &'static [u16],
}

/// The document's own route.
pub(crate) fn routes() -> Routes {
    let document = async || Document;
    Routes::about("consortium").get("/openapi.json", "This document", document)
}

/// The document, as a hub's answer.
struct Document;

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        let media = [(header::CONTENT_TYPE, "application/json")];
        (media, crate::openapi()).into_response()
    }
}

impl Tells for Document {
    fn tell(operation: &mut Operation<'_>) {
        let media = ("application/json", json!({"type": "object"}));
        operation.answer(200, "This document.", Some(media), &[]);
    }
}

impl Routes {
    /// None yet, about `tag`.
    pub(crate) fn about(tag: &'static str) -> Self {
        Self {
            router: Router::new(),
            tag,
            described: Vec::new(),
        }
    }

    /// A route that tells something and changes nothing.
    pub(crate) fn get<H, T, P>(self, path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>> + Described<P>,
        T: 'static,
    {
        self.add("get", path, summary, get(handler), H::tell)
    }

    /// A route that changes something.
    pub(crate) fn post<H, T, P>(self, path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>> + Described<P>,
        T: 'static,
    {
        self.add("post", path, summary, post(handler), H::tell)
    }

    /// A route that puts something where it belongs.
    pub(crate) fn put<H, T, P>(self, path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>> + Described<P>,
        T: 'static,
    {
        self.add("put", path, summary, put(handler), H::tell)
    }

    /// A route that adds to something.
    pub(crate) fn patch<H, T, P>(self, path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>> + Described<P>,
        T: 'static,
    {
        self.add("patch", path, summary, patch(handler), H::tell)
    }

    /// A route that ends something.
    pub(crate) fn delete<H, T, P>(self, path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>> + Described<P>,
        T: 'static,
    {
        self.add("delete", path, summary, delete(handler), H::tell)
    }

    /// The last one may also answer with problems of these statuses.
    pub(crate) fn or(mut self, statuses: &'static [u16]) -> Self {
        if let Some(last) = self.described.last_mut() {
            last.or = statuses;
        }
        self
    }

    /// These and others.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.described.extend(others.described);
        self
    }

    pub(crate) fn into_router(self) -> Router<Arc<Shared>> {
        self.router
    }

    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<Shared>>,
        tell: fn(&mut Operation<'_>),
    ) -> Self {
        self.router = self.router.route(path, handler);
        self.described.push(Route {
            tag: self.tag,
            method,
            path,
            summary,
            tell,
            // What changes something asks the rules.
            or: if method == "get" {
                &[]
            } else {
                &[402, 404, 409, 422]
            },
        });
        self
    }

    /// The OpenAPI document of them all.
    pub(crate) fn document(&self) -> Value {
        let mut schemas = Schemas::default();
        let mut paths = Map::new();
        for route in &self.described {
            let mut operation = Operation::new(route.path, &mut schemas);
            (route.tell)(&mut operation);
            operation.may_fail(route.or);
            let mut told = operation.into_json();
            told["tags"] = json!([route.tag]);
            told["summary"] = json!(route.summary);
            told["operationId"] = json!(name(route.method, route.path));
            let path = paths.entry(route.path).or_insert_with(|| json!({}));
            path[route.method] = told;
        }
        let responses = operation::problems(&mut schemas);
        schemas.settle(json!({
            "openapi": "3.1.0",
            "info": {
                "title": "khub",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "The hub of a consortium that shares machines, money and models. docs/hub.md has the rest.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/api/v1"}],
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A token, as `khub token new` makes it.",
                    },
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "khub",
                        "description": "A browser's session; what changes something is asked by the hub's own pages alone.",
                    },
                },
                "responses": responses,
            },
        }))
    }
}

/// A name for an operation, as programs have it: `getJobsJob`.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    words.fold(method.to_owned(), |name, word| name + &capital(word))
}
