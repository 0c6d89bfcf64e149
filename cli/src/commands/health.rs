//! `health`: whether a server works, as a health check or a script asks.
//!
//! It needs no log-in: a master's readiness is open to all, and of a worker nothing but the
//! greeting of its Flight port is asked.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use minispark_engine::error::Code;
use serde_json::json;

use super::control;
use crate::{
    args,
    client::Client,
    error::{Error, Exit, Result},
    output::{self, Output},
};

/// How long a worker may take for each step of its greeting.
const PATIENCE: Duration = Duration::from_secs(3);

/// What an HTTP/2 client says first: the preface and an empty SETTINGS frame (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// The length of a frame's header; its fourth byte is the frame's type.
const FRAME_HEADER_BYTES: usize = 9;
/// The type of the frame that a server says first.
const SETTINGS: u8 = 4;

/// Asks the master at `server` whether it takes jobs, or the worker of `--worker` whether it
/// serves.
///
/// # Errors
/// [`Exit::Unreachable`] where it does not, or can't be asked.
pub(crate) fn health(args: &args::Health, server: &str, output: Output) -> Result<Exit> {
    if let Some(address) = &args.worker {
        greet(address).map_err(|error| silent(address, &error))?;
        told(output, &json!({ "status": "ok" }), "ok")
    } else {
        let health = control()?.block_on(Client::new(server)?.ready())?;
        told(output, &health, &health.status)
    }
}

fn told(output: Output, document: &impl serde::Serialize, line: &str) -> Result<Exit> {
    if output.is_json() {
        output::document(document)?;
    } else {
        output::line(line)?;
    }
    Ok(Exit::Done)
}

fn silent(address: &str, error: &io::Error) -> Error {
    Error::new(Exit::Unreachable, Code::Internal, format!("the worker does not answer: {error}"))
        .kind("UNREACHABLE")
        .at(address)
        .help("is its port (--port) this one, and its address (--bind) open to here?")
}

/// Says hello as an HTTP/2 client and waits for the answer. A process that hangs still has its
/// connections opened by the system, but does not answer.
fn greet(address: &str) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(PREFACE)?;
    let mut frame = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut frame)?;
    if frame[3] != SETTINGS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
    }
    Ok(())
}

/// A connection to the first address behind a name that takes one.
fn connect(name: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in name.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::{PREFACE, greet};

    /// The result of greeting a server that reads the hello and says `answer`.
    fn greeted(answer: &'static [u8]) -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = vec![0; PREFACE.len()];
            stream.read_exact(&mut hello).unwrap();
            assert_eq!(hello, PREFACE);
            stream.write_all(answer).unwrap();
        });
        let result = greet(&address);
        server.join().unwrap();
        result
    }

    #[test]
    fn an_http_2_server_is_told_from_others() {
        greeted(b"\0\0\0\x04\0\0\0\0\0").unwrap();
        let error = greeted(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        assert_eq!(error.to_string(), "it does not speak HTTP/2");
        greeted(b"").unwrap_err();
    }

    #[test]
    fn a_closed_port_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        greet(&address).unwrap_err();
    }
}
