//! `examples/mail.py` against a stand-in for a mail server: enough of SMTP to take a message, and to refuse one.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sink_testkit::{batch, event};

use crate::{Fixture, details, verdicts};

/// What the stand-in answers to RCPT, and the messages that it took.
#[derive(Clone)]
struct MailServer {
    address: String,
    rcpt: Arc<Mutex<&'static str>>,
    took: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            rcpt: Arc::new(Mutex::new("250 ok")),
            took: Arc::default(),
        };
        let serving = server.clone();
        // It ends with the test's process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serving.serve(stream)));
        server
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let mut say = |text: &str| write!(stream, "{text}\r\n").unwrap();
        say("220 stand-in");
        while let Some(line) = lines.next() {
            match line.split([' ', ':']).next().unwrap().to_uppercase().as_str() {
                "RCPT" => say(*self.rcpt.lock().unwrap()),
                "DATA" => {
                    say("354 go on");
                    let text: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                    self.took.lock().unwrap().push(text.join("\n"));
                    say("250 taken");
                }
                "QUIT" => return say("221 bye"),
                _ => say("250 ok"),
            }
        }
    }

    fn fixture(&self) -> Fixture {
        let path = format!("{}/examples/mail.py", env!("CARGO_MANIFEST_DIR"));
        let env = format!(
            "SMTP = \"{}\", MAIL_FROM = \"relay@shop.example\", MAIL_TO = \"a@x.example,b@x.example\"",
            self.address
        );
        Fixture::with(&format!("command = [\"python3\", \"{path}\"]\nenv = {{ {env} }}"), "")
    }
}

#[tokio::test]
async fn an_event_is_a_message_to_all_with_its_text_first() {
    let server = MailServer::start();
    let fixture = server.fixture();
    let sink = fixture.open().await;
    let body = r#"{"type":"sink.down","text":"sink crm does not take deliveries","subject":"crm","count":2}"#;
    let owed = batch([event("sink.down").subject("crm").delivery_id("d-1").body(body).delivery()]);
    assert_eq!(verdicts(&*sink, &owed).await, ["delivered"]);
    let took = server.took.lock().unwrap().clone();
    let [message] = took.as_slice() else { panic!("{took:?}") };
    for part in [
        "Subject: [hookrelay] sink.down crm",
        "To: a@x.example,b@x.example",
        "Message-ID: <d-1@hookrelay>",
        "\n\nsink crm does not take deliveries\n\n",
        "\ncount: 2",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    sink.close().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_rejected_and_what_may_pass_is_tried_again() {
    let server = MailServer::start();
    let fixture = server.fixture();
    let sink = fixture.open().await;
    let owed = || batch([event("t").body(r#"{"text":"x"}"#).delivery()]);
    *server.rcpt.lock().unwrap() = "550 nobody here";
    assert_eq!(verdicts(&*sink, &owed()).await, ["reject exec_reject"]);
    *server.rcpt.lock().unwrap() = "451 later";
    let slots = crate::deliver(&*sink, &owed()).await;
    assert_eq!(crate::verdict(&slots[0]), "retry exec_retry");
    assert!(details(&slots)[0].contains("451"), "{slots:?}");
    sink.close().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_the_sinks_fault() {
    let mut server = MailServer::start();
    // A port that nobody listens on any more.
    server.address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let fixture = server.fixture();
    let sink = fixture.open().await;
    let owed = batch([event("t").body(r#"{"text":"x"}"#).delivery()]);
    assert_eq!(verdicts(&*sink, &owed).await, ["retry connect"]);
    sink.close().await;
}
