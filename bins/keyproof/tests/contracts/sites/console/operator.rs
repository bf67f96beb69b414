//! A browser without scripts, at a server that the tests of any contract have started: it keeps cookies, follows links and fills in
//! forms.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::civil::{DateTime, Time};
use tokio::net::TcpStream;

use crate::late;

/// The boundary between the parts of a form.
const BOUNDARY: &str = "----keyproofFormBoundary";

const STYLE: &str = include_str!("../../../../src/sites/assets/style.css");

#[derive(Clone)]
pub(crate) struct Operator {
    address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The last page.
    pub(crate) page: String,
    /// The headers that it sends with each request.
    pub(crate) headers: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?}", self.headers);
        self
    }

    /// Returns a header's value, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> String {
        self.header("location").to_owned()
    }
}

impl Operator {
    /// Returns a browser that is not signed in.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            address,
            cookies: BTreeMap::new(),
            page: String::new(),
            headers: Vec::new(),
        }
    }

    /// Returns a browser that is signed in with this token.
    pub(crate) async fn signed_in(address: SocketAddr, token: &str) -> Self {
        let mut operator = Self::at(address);
        operator.get("/console/sign-in").await.is(200);
        let fields = [("token", token)];
        operator.post("/console/sign-in", &fields).await.is(303);
        operator.get("/console").await.is(200);
        operator
    }

    /// Submits the token again, which changes that weaken security require.
    pub(crate) async fn confirms(&mut self, token: &str) {
        self.get("/console/confirm").await.is(200);
        let fields = [("token", token), ("to", "")];
        self.post("/console/confirm", &fields).await.is(303);
    }

    /// Submits a form too late, is redirected to confirm the token, and returns to the form's page. Nothing has been done yet.
    pub(crate) async fn sent_to_confirm(&mut self, form: &str, token: &str) {
        let before = self.page.clone();
        let to = self.post(form, &[]).await.is(303).location();
        assert!(to.starts_with("/console/confirm?to="), "{to}");
        self.get(&to).await.is(200);
        let page = self.hidden("to").unwrap();
        let fields = [("token", token), ("to", &*page)];
        let back = self
            .post("/console/confirm", &fields)
            .await
            .is(303)
            .location();
        let mark = if page.contains('?') { '&' } else { '?' };
        assert_eq!(back, format!("{page}{mark}done=confirmed"));
        self.get(&back).await.is(200);
        self.sees("nothing is done yet");
        let heading = |page: &str| {
            page.split("<h1>")
                .nth(1)
                .unwrap()
                .split("</h1>")
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(heading(&self.page), heading(&before), "{back}");
        self.sees(&format!("action=\"{form}\"").replace('&', "&#38;"));
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Submits the form on the last page.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf();
        self.post_with(path, &csrf, fields).await
    }

    pub(crate) async fn post_with(
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

    /// Submits the form on the last page, and follows the redirect.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let to = self.post(path, fields).await.is(303).location();
        self.get(&to).await
    }

    /// Submits the form on the last page, which has a file.
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

    /// Submits the form on the last page, with the end of the body sent only after something else was done.
    pub(crate) async fn post_late(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        meanwhile: impl Future<Output = ()>,
    ) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &self.csrf()).extend_pairs(fields);
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            cookies.join("; ")
        );
        let form = form.finish();
        let sent = late::send(self.address, &head, form.as_bytes(), meanwhile);
        let (status, headers, body) = sent.await;
        let answer = Answer {
            status,
            headers,
            body,
        };
        assert_safe(&answer);
        answer
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(String, Vec<u8>)>,
    ) -> Answer {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
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
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body,
        };
        assert_safe(&answer);
        // A redirect has no page.
        if answer.status != StatusCode::SEE_OTHER {
            let page = String::from_utf8(answer.body.to_vec()).unwrap();
            // Optional line breaks are not part of the text.
            self.page = page.replace("<wbr>", "");
        }
        answer
    }

    /// Returns the value of a hidden field on the last page.
    pub(crate) fn hidden(&self, name: &str) -> Option<String> {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.page.split_once(&mark)?;
        Some(attribute(rest))
    }

    /// Returns the target of the first link that starts like this.
    #[track_caller]
    pub(crate) fn link_to(&self, start: &str) -> String {
        let mark = format!("href=\"{start}");
        let (_, rest) = self.page.split_once(&mark).expect(start);
        format!("{start}{}", attribute(rest))
    }

    /// Returns the target of the link to the next part of what is listed, if there is one.
    pub(crate) fn next_page(&self) -> Option<String> {
        let (before, _) = self.page.split_once("\" rel=\"next\"")?;
        before.rsplit("href=\"").next().map(attribute)
    }

    /// Returns the target of the link with this text, without its fragment.
    #[track_caller]
    pub(crate) fn link(&self, text: &str) -> String {
        let (before, _) = self.page.split_once(&format!("\">{text}</a>")).expect(text);
        let link = attribute(before.rsplit("href=\"").next().unwrap());
        link.split('#').next().unwrap().to_owned()
    }

    pub(crate) fn csrf(&self) -> String {
        self.hidden("csrf").expect("a form on the page")
    }

    /// Returns the text of the element with this id, which contains no other element.
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

/// Returns the rest of the attribute in which this text begins, as a browser reads it.
fn attribute(rest: &str) -> String {
    let value = rest.split('"').next().unwrap();
    value.replace("&#38;", "&").replace("&amp;", "&")
}

/// Asserts the properties of every answer of a site.
#[track_caller]
fn assert_safe(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{answer:?}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    for kept_apart in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        assert_eq!(answer.header(kept_apart), "same-origin", "{answer:?}");
    }
    assert!(answer.header("permissions-policy").contains("camera=()"));
    assert!(answer.headers.get("access-control-allow-origin").is_none());
    assert!(!answer.header("x-request-id").is_empty());
    if answer.header("content-type").starts_with("text/html") {
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
        let vary = answer.header("vary");
        assert!(vary.ends_with("Accept-Language, Cookie"), "{vary}");
        let page = std::str::from_utf8(&answer.body).unwrap();
        // Nothing inline, and nothing from other sites.
        for wrong in [
            "<style",
            "style=",
            "onclick",
            "onload",
            "javascript:",
            "src=\"http",
            "href=\"http",
        ] {
            assert!(!page.contains(wrong), "{wrong} in {page}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script src=\"/").count()
        );
        // A page of fifty rows is small, including the stylesheet.
        let rows = ["<td", "<th scope=\"row\""].map(|first| {
            let row = format!("<tr role=\"row\">{first}");
            page.matches(&row).count()
        });
        let rows: usize = rows.iter().sum();
        let weight = page.len() + STYLE.len();
        let is_list = (1..=50).contains(&rows);
        assert!(
            !is_list || weight < 60 * 1024,
            "{rows} rows, {weight} bytes"
        );
        for time in page.split("<time").skip(1) {
            assert!(is_time(time), "<time{time}");
        }
    }
}

/// Returns whether a `time` element, without its name, has a machine-readable date or time.
fn is_time(element: &str) -> bool {
    let (attributes, text) = element.split_once('>').unwrap();
    match attributes.strip_prefix(" datetime=\"") {
        Some(moment) => moment
            .strip_suffix("Z\"")
            .is_some_and(|moment| moment.contains('T') && moment.parse::<DateTime>().is_ok()),
        None => {
            let text = text.split('<').next().unwrap();
            attributes.is_empty() && text.len() == 8 && text.parse::<Time>().is_ok()
        }
    }
}
