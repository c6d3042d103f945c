//! The HTTP sink's target: a bare TCP server that behaves well or badly, as its mood is set, and remembers what it has
//! answered 200.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bodies::{number_in, numbered};
use crate::plan::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    Good,
    Hangs,
    Resets,
    Garbage,
    Fails,
    Overloaded,
}

impl Mood {
    pub fn bad(dice: &mut Dice) -> Self {
        let bad = [Self::Hangs, Self::Resets, Self::Garbage, Self::Fails, Self::Overloaded];
        bad[usize::try_from(dice.roll(bad.len() as u64)).unwrap()]
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "http is well",
            Self::Hangs => "http hangs",
            Self::Resets => "http resets",
            Self::Garbage => "http answers garbage",
            Self::Fails => "http answers 500",
            Self::Overloaded => "http answers 429",
        }
    }
}

#[derive(Default)]
struct State {
    /// How often each number was taken.
    got: HashMap<u64, u32>,
    /// The bodies that are not as they were sent.
    spoiled: Vec<String>,
}

#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    state: Arc<Mutex<State>>,
}

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Self { address, mood: Arc::new(Mutex::new(Mood::Good)), state: Arc::default() };
        let shared = target.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        target
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How often each number was taken, and the bodies that are not as they were sent.
    pub fn figures(&self) -> (HashMap<u64, u32>, Vec<String>) {
        let state = self.state.lock().unwrap();
        (state.got.clone(), state.spoiled.clone())
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut buffer = Vec::new();
        loop {
            let body = request(&mut stream, &mut buffer).await?;
            let mood = *self.mood.lock().unwrap();
            let answer = match mood {
                Mood::Good => {
                    self.take(&body);
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                }
                Mood::Hangs => {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    return None;
                }
                // The connection is dropped, with the request read or unread: the client sees it gone.
                Mood::Resets => return None,
                Mood::Garbage => "\u{1}\u{2}HTTP is what this is not\r\n\r\n",
                Mood::Fails => "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
                Mood::Overloaded => "HTTP/1.1 429 Later\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn take(&self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let mut state = self.state.lock().unwrap();
        let n = if text.contains("m-") { number_in(&text) } else { u64::MAX };
        if n == u64::MAX || *body != numbered(n) {
            state.spoiled.push(text.into_owned());
            return;
        }
        *state.got.entry(n).or_default() += 1;
    }
}

/// Reads one request; gives its body.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let end = head + 4 + length.unwrap_or(0_usize);
            if buffer.len() >= end {
                let rest = buffer.split_off(end);
                let request = std::mem::replace(buffer, rest);
                return Some(request[head + 4..].to_vec());
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
