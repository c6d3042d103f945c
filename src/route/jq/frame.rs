//! What the daemon and its worker process say to each other: frames of a length (u32, little-endian) and as many bytes.
//! The first frame holds the programs, and is answered by an empty one from a process that is ready, by the reason from
//! one that cannot be; then each request is answered by one response, in order. Pure.
//!
//! Both ends are the same binary: the shape has no version and is kept nowhere.

use bytes::{Buf, BufMut, Bytes};

/// Largest frame. A request holds one body, a response the payloads made of it.
pub const MAX_FRAME: usize = 256 << 20;

/// One route of an event's way: what to ask, by numbers of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its `where`.
    pub condition: Option<u32>,
    /// Its `transform`.
    pub transform: Option<u32>,
    /// Whether the rest is of no interest where the condition holds.
    pub is_final: bool,
}

/// What is asked about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The routes, in order.
    pub steps: Vec<Step>,
    /// Whether to say what conditions evaluated to.
    pub show: bool,
    /// The event's time, in microseconds since 1970.
    pub time: i64,
    /// `$event`, in JSON.
    pub event: Bytes,
    /// The input.
    pub body: Bytes,
}

/// What one program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A condition, and what it evaluated to (empty where that was not asked for).
    Condition(bool, String),
    /// The payloads of a transform.
    Payloads(Vec<Bytes>),
    /// The program failed with this message; whether it is a transform.
    Failed(bool, String),
}

/// Appends a frame.
pub fn seal(content: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(length(content));
    out.extend_from_slice(content);
}

/// The request as a frame's content.
pub fn request(request: &Request, out: &mut Vec<u8>) {
    out.put_u8(u8::from(request.show));
    out.put_i64_le(request.time);
    out.put_u32_le(u32::try_from(request.steps.len()).unwrap_or(u32::MAX));
    for step in &request.steps {
        out.put_u32_le(number(step.condition));
        out.put_u32_le(number(step.transform));
        out.put_u8(u8::from(step.is_final));
    }
    put(&request.event, out);
    put(&request.body, out);
}

/// The request of a frame's content; `None` where it is none.
pub fn read_request(mut from: Bytes) -> Option<Request> {
    let show = from.try_get_u8().ok()? != 0;
    let time = from.try_get_i64_le().ok()?;
    let count = from.try_get_u32_le().ok()?;
    let mut steps = Vec::new();
    for _ in 0..count {
        steps.push(Step {
            condition: read_number(&mut from)?,
            transform: read_number(&mut from)?,
            is_final: from.try_get_u8().ok()? != 0,
        });
    }
    Some(Request { steps, show, time, event: take(&mut from)?, body: take(&mut from)? })
}

/// The answers, each with its program's number, as a frame's content.
pub fn response(answers: &[(u32, Answer)], out: &mut Vec<u8>) {
    for (program, answer) in answers {
        out.put_u32_le(*program);
        match answer {
            Answer::Condition(holds, shown) => {
                out.put_u8(u8::from(*holds));
                put(shown.as_bytes(), out);
            }
            Answer::Failed(is_transform, message) => {
                out.put_u8(2 + u8::from(*is_transform));
                put(message.as_bytes(), out);
            }
            Answer::Payloads(payloads) => {
                out.put_u8(4);
                out.put_u32_le(u32::try_from(payloads.len()).unwrap_or(u32::MAX));
                payloads.iter().for_each(|payload| put(payload, out));
            }
        }
    }
}

/// The answers of a frame's content; `None` where they are none.
pub fn read_response(mut from: Bytes) -> Option<Vec<(u32, Answer)>> {
    let mut answers = Vec::new();
    while from.has_remaining() {
        let program = from.try_get_u32_le().ok()?;
        let answer = match from.try_get_u8().ok()? {
            holds @ (0 | 1) => Answer::Condition(holds == 1, text(&mut from)?),
            which @ (2 | 3) => Answer::Failed(which == 3, text(&mut from)?),
            4 => {
                let count = from.try_get_u32_le().ok()?;
                Answer::Payloads((0..count).map(|_| take(&mut from)).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        answers.push((program, answer));
    }
    Some(answers)
}

fn length(bytes: &[u8]) -> u32 {
    // Nothing here comes near 4 GiB: bodies and outputs have bounds.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn number(program: Option<u32>) -> u32 {
    program.map_or(0, |n| n + 1)
}

fn read_number(from: &mut Bytes) -> Option<Option<u32>> {
    from.try_get_u32_le().ok().map(|n| n.checked_sub(1))
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    seal(bytes, out);
}

fn take(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(from.try_get_u32_le().ok()?).ok()?;
    (length <= from.len()).then(|| from.split_to(length))
}

fn text(from: &mut Bytes) -> Option<String> {
    String::from_utf8(take(from)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_read_what_the_other_wrote() {
        let step = |condition, transform, is_final| Step { condition, transform, is_final };
        let asked = Request {
            steps: vec![step(None, Some(0), false), step(Some(7), None, true)],
            show: true,
            time: -5,
            event: Bytes::from_static(b"{}"),
            body: Bytes::from_static(b"\xff"),
        };
        let mut out = Vec::new();
        request(&asked, &mut out);
        assert_eq!(read_request(out.clone().into()).unwrap(), asked);
        assert!((0..out.len()).all(|cut| read_request(Bytes::copy_from_slice(&out[..cut])).is_none()));
        let said = vec![
            (0, Answer::Condition(true, "1".into())),
            (1, Answer::Failed(true, "no".into())),
            (9, Answer::Payloads(vec![Bytes::from_static(b"1"), Bytes::new()])),
        ];
        let mut out = Vec::new();
        response(&said, &mut out);
        assert_eq!(read_response(out.into()).unwrap(), said);
        assert_eq!(read_response(Bytes::from_static(b"\x01\0\0\0\x09")), None);
    }
}
