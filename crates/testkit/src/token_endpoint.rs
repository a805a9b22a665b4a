//! A token endpoint (client credentials grant) that issues unsigned tokens, which a broker without an identity provider accepts.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The endpoint. It serves until the process ends.
pub struct TokenEndpoint {
    /// `http://127.0.0.1:PORT/token`.
    pub url: String,
    granted: Arc<AtomicU64>,
}

impl TokenEndpoint {
    /// Starts the endpoint. It issues tokens with this lifetime to the client with this id and secret. The id is the subject.
    pub fn start(client_id: &str, client_secret: &str, life: Duration) -> anyhow::Result<TokenEndpoint> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/token", listener.local_addr()?);
        let expected = format!("Basic {}", STANDARD.encode(format!("{client_id}:{client_secret}")));
        let (subject, granted) = (client_id.to_owned(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&granted);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client may disconnect.
                _ = serve(stream, &expected, || token(&subject, life), &counted);
            }
        });
        Ok(TokenEndpoint { url, granted })
    }

    /// Number of issued tokens.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }
}

fn serve(
    mut stream: TcpStream,
    expected: &str,
    token: impl FnOnce() -> String,
    granted: &AtomicU64,
) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().context("content-length")?,
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asks = String::from_utf8_lossy(&body).contains("grant_type=client_credentials");
    let (status, answer) = if authorization == expected && asks {
        granted.fetch_add(1, Ordering::Relaxed);
        ("200 OK", token())
    } else {
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )?;
    Ok(())
}

fn token(subject: &str, life: Duration) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (life, end) = (life.as_secs(), now + life.as_secs());
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let head = part(r#"{"alg":"none"}"#.to_owned());
    let claims = part(format!(r#"{{"sub":"{subject}","iat":{now},"exp":{end}}}"#));
    format!(r#"{{"access_token":"{head}.{claims}.","token_type":"Bearer","expires_in":{life}}}"#)
}
