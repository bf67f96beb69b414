//! An operator's browser without scripts, at a server that any contract's tests have started.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What is between the parts of a form.
const BOUNDARY: &str = "----keyproofFormBoundary";

pub(crate) struct Operator {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
    /// The last page.
    pub(crate) page: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?}", self.headers);
        self
    }

    pub(crate) fn location(&self) -> String {
        let location = self.headers.get(header::LOCATION).unwrap();
        location.to_str().unwrap().to_owned()
    }
}

impl Operator {
    /// Who has signed in with this token.
    pub(crate) async fn signed_in(address: SocketAddr, token: &str) -> Self {
        let mut operator = Self {
            address,
            cookies: BTreeMap::new(),
            page: String::new(),
        };
        operator.get("/console/sign-in").await.is(200);
        let fields = [("token", token)];
        operator.post("/console/sign-in", &fields).await.is(303);
        operator.get("/console").await.is(200);
        operator
    }

    /// Shows the token again, which is done before what weakens something.
    pub(crate) async fn confirms(&mut self, token: &str) {
        self.get("/console/confirm").await.is(200);
        let fields = [("token", token), ("to", "")];
        self.post("/console/confirm", &fields).await.is(303);
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Fills in the form on the last page.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf();
        self.post_as(path, &csrf, fields).await
    }

    pub(crate) async fn post_as(
        &mut self,
        path: &str,
        csrf: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", csrf).extend_pairs(fields);
        let kind = "application/x-www-form-urlencoded".to_owned();
        let body = form.finish().into_bytes();
        self.send("POST", path, Some((kind, body))).await
    }

    /// Fills in the form on the last page, which has a file.
    pub(crate) async fn upload(&mut self, path: &str, parts: &[(&str, &[u8])]) -> Answer {
        let csrf = self.csrf();
        self.upload_as(path, &csrf, parts).await
    }

    pub(crate) async fn upload_as(
        &mut self,
        path: &str,
        csrf: &str,
        parts: &[(&str, &[u8])],
    ) -> Answer {
        let mut body = Vec::new();
        for (name, value) in [("csrf", csrf.as_bytes())].iter().chain(parts) {
            let file = if *name == "file" {
                "; filename=\"a.pem\""
            } else {
                ""
            };
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.send("POST", path, Some((kind, body))).await
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<(String, Vec<u8>)>) -> Answer {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::COOKIE, cookies.join("; "));
        let mut sent = Bytes::new();
        if let Some((kind, body)) = body {
            request = request.header(header::CONTENT_TYPE, kind);
            sent = body.into();
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let request = request.body(Full::new(sent)).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        for cookie in head.headers.get_all(header::SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        assert_eq!(head.headers["cache-control"], "no-store", "{path}");
        let policy = head.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        if head.status != StatusCode::SEE_OTHER {
            self.page = String::from_utf8(body.to_vec()).unwrap();
            for wrong in ["<style", "style=", "onclick", "javascript:", "<script>"] {
                assert!(!self.page.contains(wrong), "{wrong} in {}", self.page);
            }
        }
        Answer {
            status: head.status,
            headers: head.headers,
        }
    }

    /// The value of a hidden field on the last page.
    pub(crate) fn hidden(&self, name: &str) -> Option<String> {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.page.split_once(&mark)?;
        Some(rest.split('"').next().unwrap().to_owned())
    }

    pub(crate) fn csrf(&self) -> String {
        self.hidden("csrf").expect("a form on the page")
    }

    /// What stands in the element of this id, which has no other in it.
    pub(crate) fn text_of(&self, id: &str) -> String {
        let mark = format!("id=\"{id}\">");
        let (_, rest) = self.page.split_once(&mark).expect(id);
        rest.split('<').next().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn sees(&self, text: &str) {
        assert!(self.page.contains(text), "{text:?} is not in {}", self.page);
    }

    #[track_caller]
    pub(crate) fn sees_not(&self, text: &str) {
        assert!(!self.page.contains(text), "{text:?} is in {}", self.page);
    }
}
