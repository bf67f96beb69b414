//! The servers that keyproof is compared with over HTTP: bare hyper, and hyper with one use case and nothing else.

use std::{convert::Infallible, env, path::Path, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use keyproof_service::{
    Clock, Principal, Service, SystemClock,
    otp_devices::{Moment, Reading},
};
use keyproof_store::MasterKey;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Result, users};

/// The environment variable with the store's master key, in Base64.
pub const KEY: &str = "KEYPROOF_BENCH_KEY";

/// What handles hyper's requests.
enum Behind {
    /// Nothing: `GET /N` returns N bytes.
    Nothing,
    /// The use case that reads an OTP device of the default instance, as keyproof has it: the token and the records are looked up
    /// for each request. There are no limits, no log, no metrics and no routes, and every refusal is 403.
    OneUseCase(Arc<Service>),
}

/// Runs a bare hyper server.
pub async fn bare() -> Result<()> {
    serve(Behind::Nothing).await
}

/// Runs a hyper server with one use case on this store.
pub async fn one_use_case(store: &Path) -> Result<()> {
    let key = BASE64.decode(env::var(KEY)?.as_bytes()).ok();
    let key = key.and_then(|key| MasterKey::from_bytes(&key));
    let key = key.ok_or("not a master key")?;
    let store = users::open(store, &key, SystemClock.now()).await?;
    let service = users::service(store, Arc::new(SystemClock), 1).await?;
    serve(Behind::OneUseCase(service)).await
}

async fn serve(behind: Behind) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let behind = Arc::new(behind);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let behind = Arc::clone(&behind);
        let serve = service_fn(move |request: Request<Incoming>| {
            let behind = Arc::clone(&behind);
            async move { Ok::<_, Infallible>(behind.answer(&request).await) }
        });
        let mut connection = hyper::server::conn::http1::Builder::new();
        connection.timer(TokioTimer::new());
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
    }
}

impl Behind {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let body = match self {
            Self::Nothing => {
                let size = request.uri().path().trim_start_matches('/').parse();
                Some(vec![b'x'; size.unwrap_or(0)])
            }
            Self::OneUseCase(service) => show(service, request).await,
        };
        let status = match body {
            Some(_) => StatusCode::OK,
            None => StatusCode::FORBIDDEN,
        };
        let mut response = Response::new(Full::new(Bytes::from(body.unwrap_or_default())));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

async fn show(service: &Service, request: &Request<Incoming>) -> Option<Vec<u8>> {
    let id = request.uri().path().rsplit('/').next()?;
    let token = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let token = token.strip_prefix("Bearer secret-token:")?;
    let origin = users::origin(Principal::Anonymous);
    let devices = &service.otp_devices;
    let caller = devices.permit::<Reading>("default", Some(token), Some(id), &origin);
    let moment = Ok::<_, Infallible>(Moment::default());
    let view = devices.device(&caller.await.ok()?, moment).ok()?;
    let body = json!({
        "device_description": view.description,
        "otp_algorithm": view.algorithm.number(),
        "otp_timestamp": view.at,
        "otp_code": view.codes.as_deref(),
    });
    Some(body.to_string().into_bytes())
}
