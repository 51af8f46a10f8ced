//! How requests of `object_store` travel: by `ureq`, as everything else of khub does, on threads that may wait.
//!
//! Nothing that is asked for is longer than a part of an object, so an answer is read whole.

use bytes::Bytes;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use std::io::{self, Cursor, Read};
use std::time::Duration;
use ureq::http::{Method, header};
use ureq::{Agent, SendBody, Timeout};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the other side may be silent. S3 takes its time to put parts together.
const SILENCE: Duration = Duration::from_secs(120);
/// Nobody is asked for more; an answer that is longer is nonsense.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Makes clients that speak by `ureq`.
#[derive(Debug)]
pub(crate) struct Wire;

#[derive(Debug)]
struct Line(Agent);

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let may_be_open = options.get_config_value(&ClientConfigKey::AllowHttp);
        let agent = Agent::config_builder()
            .https_only(may_be_open.as_deref() != Some("true"))
            .http_status_as_error(false)
            // A signature holds for one address.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        Ok(HttpClient::new(Line(agent.into())))
    }
}

#[async_trait::async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let agent = self.0.clone();
        let answered = tokio::task::spawn_blocking(move || ask(&agent, request)).await;
        answered.map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?
    }
}

fn ask(agent: &Agent, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (mut parts, body) = request.into_parts();
    let length = body.content_length();
    let has_body = length > 0 || matches!(parts.method, Method::PUT | Method::POST);
    let body = match has_body {
        true => {
            parts.headers.insert(header::CONTENT_LENGTH, length.into());
            SendBody::from_owned_reader(Chunks::of(body)?)
        }
        false => SendBody::none(),
    };
    let request = ureq::http::Request::from_parts(parts, body);
    let (parts, body) = agent.run(request).map_err(failed)?.into_parts();
    let mut bytes = Vec::new();
    let read = body
        .into_with_config()
        .limit(LONGEST_ANSWER)
        .reader()
        .read_to_end(&mut bytes);
    read.map_err(|e| failed(e.into()))?;
    Ok(HttpResponse::from_parts(parts, bytes.into()))
}

/// A request's body, whose chunks are in memory.
struct Chunks {
    rest: std::vec::IntoIter<Bytes>,
    now: Cursor<Bytes>,
}

impl Chunks {
    fn of(mut body: object_store::client::HttpRequestBody) -> Result<Self, HttpError> {
        use http_body::Body as _;
        use std::task::{Context, Poll, Waker};
        let mut chunks = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        // It is all there, so it never has to be waited for.
        while let Poll::Ready(Some(frame)) = std::pin::Pin::new(&mut body).poll_frame(&mut context) {
            chunks.extend(frame?.into_data().ok());
        }
        Ok(Self {
            rest: chunks.into_iter(),
            now: Cursor::default(),
        })
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.now.read(buffer)? {
                0 => match self.rest.next() {
                    Some(next) => self.now = Cursor::new(next),
                    None => return Ok(0),
                },
                count => return Ok(count),
            }
        }
    }
}

/// Whether it is worth asking again, `object_store` decides by the kind.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
