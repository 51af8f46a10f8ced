//! Answers the other sites of this one's jobs.

use super::tree::CHUNK;
use super::{Exchange, Pace};
use crate::SiteError;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consortium::{Digest, JobId};
use futures_util::stream;
use serde::Deserialize;
use std::io::{self, SeekFrom};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use tokio_rustls::server::TlsStream;

/// How long who dials may take to show a certificate, and how many may be at it.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 64;
/// Bytes that are read from a file at a time.
const PIECE: u64 = 64 << 10;

/// Answers on a thread of its own, as long as the process is there.
pub(super) fn start(listener: TcpListener, exchange: &Arc<Exchange>) -> Result<(), SiteError> {
    let failed = |what: &dyn std::fmt::Display| SiteError::Exchange(format!("it can't be served: {what}"));
    let config = config(exchange).map_err(|error| failed(&error))?;
    listener.set_nonblocking(true).map_err(|error| failed(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let router = Router::new()
        .route("/jobs/{job}/artifacts/{digest}", get(hand_out))
        .with_state(Arc::clone(exchange))
        .into_make_service_with_connect_info::<Caller>();
    let _guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| failed(&error))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (give, arrivals) = mpsc::channel(HANDSHAKES);
            tokio::spawn(greet(listener, TlsAcceptor::from(Arc::new(config)), give));
            // It has no end of its own.
            let _ = axum::serve(Arrivals(arrivals), router).await;
        });
    });
    Ok(())
}

/// TLS 1.3, for who has the certificate of a site in one of this site's jobs.
fn config(exchange: &Arc<Exchange>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let known = Known {
        algorithms: provider.signature_verification_algorithms,
        exchange: Arc::clone(exchange),
    };
    let passport = &exchange.passport;
    let certificate = CertificateDer::from(passport.certificate.clone());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(known))
        .with_single_cert(
            vec![certificate],
            PrivatePkcs8KeyDer::from(passport.key.clone()).into(),
        )
}

/// Takes certificates that the hub told of. There is nothing to verify in one but that it is the same to the byte; the
/// handshake then proves that who shows it has its key.
struct Known {
    algorithms: WebPkiSupportedAlgorithms,
    exchange: Arc<Exchange>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sites of this site's jobs")
    }
}

impl ClientCertVerifier for Known {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.exchange.bearer(&STANDARD.encode(certificate)) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("it is TLS 1.3 or nothing".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes connections, and hands on those that have shown who they are.
async fn greet(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    give: mpsc::Sender<(TlsStream<TcpStream>, Caller)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // As when there are too many open files: others may close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, give) = (acceptor.clone(), give.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                return;
            };
            let shown = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first());
            if let Some(caller) = shown.map(|certificate| Caller(STANDARD.encode(certificate))) {
                let _ = give.send((stream, caller)).await;
            }
        });
    }
}

struct Arrivals(mpsc::Receiver<(TlsStream<TcpStream>, Caller)>);

/// The certificate of the site at the other end. Whose it is, and whether it still is, is asked with each request.
#[derive(Debug, Clone)]
struct Caller(String);

impl Listener for Arrivals {
    type Io = TlsStream<TcpStream>;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(arrived) => arrived,
            // Who greets is gone, so nobody comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Connected<IncomingStream<'_, Arrivals>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Arrivals>) -> Self {
        stream.remote_addr().clone()
    }
}

#[derive(Deserialize)]
struct Wanted {
    /// The first byte; a chunk begins there.
    #[serde(default)]
    from: u64,
}

/// Whether there is nothing, or nothing for who asks, is the same answer.
async fn hand_out(
    State(exchange): State<Arc<Exchange>>,
    ConnectInfo(Caller(certificate)): ConnectInfo<Caller>,
    Path((job, digest)): Path<(JobId, Digest)>,
    Query(Wanted { from }): Query<Wanted>,
) -> Response {
    let Some(site) = exchange.bearer(&certificate) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let looking = {
        let (exchange, site) = (Arc::clone(&exchange), site.clone());
        tokio::task::spawn_blocking(move || exchange.hand_out(job, &digest, &site))
    };
    let Ok(Some((file, tree))) = looking.await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !from.is_multiple_of(CHUNK) || from > tree.len {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut head = tree.len.to_le_bytes().to_vec();
    head.extend(tree.values.iter().flatten());
    let rest = tree.len - from;
    let length = head.len() as u64 + rest;
    let reading = Reading {
        pace: exchange.pace(&site),
        exchange,
        job,
        head: Some(head),
        file: file.into(),
        from,
        rest,
    };
    let body = Body::from_stream(stream::try_unfold(reading, Reading::next));
    ([(header::CONTENT_LENGTH, length)], body).into_response()
}

/// What is under way to a site.
struct Reading {
    exchange: Arc<Exchange>,
    job: JobId,
    pace: Option<Arc<Pace>>,
    head: Option<Vec<u8>>,
    file: tokio::fs::File,
    from: u64,
    rest: u64,
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let piece = match self.head.take() {
            Some(head) => {
                self.file.seek(SeekFrom::Start(self.from)).await?;
                head
            }
            None if self.rest == 0 => return Ok(None),
            None => {
                let mut piece = vec![0; PIECE.min(self.rest) as usize];
                self.file.read_exact(&mut piece).await?;
                self.rest -= piece.len() as u64;
                piece
            }
        };
        if let Some(pace) = &self.pace {
            tokio::time::sleep(pace.take(piece.len() as u64)).await;
        }
        self.exchange.handed(self.job, piece.len() as u64);
        Ok(Some((piece.into(), self)))
    }
}
