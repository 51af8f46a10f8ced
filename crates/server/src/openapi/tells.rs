//! What handlers' parts tell of themselves.

use super::Operation;
use crate::extract::{Ask, At, Bearer, Body, Json, Key, No, Own, Stranger, WithCookies};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemars::JsonSchema;
use serde_json::json;
use std::future::Future;

/// A part of a handler's signature: an extractor, or the answer.
pub(crate) trait Tells {
    /// Adds what it takes or gives.
    fn tell(operation: &mut Operation<'_>);
}

/// A handler whose parts all tell of themselves.
pub(crate) trait Described<Parts> {
    /// Adds what they take and give.
    fn tell(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<Handler, Answered, Answer, $($part),*> Described<($($part,)*)> for Handler
        where
            Handler: FnOnce($($part),*) -> Answered,
            Answered: Future<Output = Answer>,
            Answer: Tells,
            $($part: Tells,)*
        {
            fn tell(operation: &mut Operation<'_>) {
                $($part::tell(operation);)*
                Answer::tell(operation);
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
described!(A B C D E F);

impl<S> Tells for State<S> {
    fn tell(_: &mut Operation<'_>) {}
}

impl Tells for Bearer {
    fn tell(operation: &mut Operation<'_>) {
        operation.is_for_bearers();
    }
}

impl Tells for Own {
    fn tell(operation: &mut Operation<'_>) {
        operation.is_for_bearers();
    }
}

impl Tells for Stranger {
    fn tell(operation: &mut Operation<'_>) {
        operation.may_fail(&[403, 429, 500, 503]);
    }
}

impl Tells for Option<Key> {
    fn tell(operation: &mut Operation<'_>) {
        operation.may_fail(&[400, 409]);
        operation.reads(
            "Idempotency-Key",
            &json!({"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]([ -~]*[!-~])?$"}),
            "Asked again under the same key, the same is answered and not done again.",
        );
    }
}

impl<T: JsonSchema> Tells for At<T> {
    fn tell(operation: &mut Operation<'_>) {
        operation.is_at::<T>();
    }
}

impl<T: JsonSchema> Tells for Ask<T> {
    fn tell(operation: &mut Operation<'_>) {
        operation.asks::<T>();
    }
}

impl<T: JsonSchema> Tells for Body<T> {
    fn tell(operation: &mut Operation<'_>) {
        operation.takes::<T>();
    }
}

impl Tells for Bytes {
    fn tell(operation: &mut Operation<'_>) {
        operation.takes_bytes();
        operation.may_fail(&[413]);
    }
}

/// A body that is read bit by bit.
impl Tells for Request {
    fn tell(operation: &mut Operation<'_>) {
        operation.takes_bytes();
    }
}

/// Which of them are read, the answer tells.
impl Tells for HeaderMap {
    fn tell(_: &mut Operation<'_>) {}
}

/// A no that has been put into words already.
impl<T: Tells> Tells for Result<T, Response> {
    fn tell(operation: &mut Operation<'_>) {
        T::tell(operation);
    }
}

impl<T: Tells> Tells for Result<T, No> {
    fn tell(operation: &mut Operation<'_>) {
        T::tell(operation);
    }
}

impl<T: JsonSchema> Tells for WithCookies<T> {
    fn tell(operation: &mut Operation<'_>) {
        operation.gives::<T>(&["Set-Cookie"]);
    }
}

impl<T: JsonSchema> Tells for Json<T> {
    fn tell(operation: &mut Operation<'_>) {
        operation.gives::<T>(&[]);
    }
}
