//! `menshen demo`: the gateway on embedded defaults, a small app behind it, and lines to paste.

mod app;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::command::{complain, print};
use crate::identifiers;
use crate::process;

const POLICY: &str = include_str!("demo/policy.yaml");

/// The smallest PNG there is: one transparent pixel.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// Runs until it is interrupted.
pub fn run() -> ExitCode {
    let folder = match tempfile::Builder::new().prefix("menshen-demo-").tempdir() {
        Ok(folder) => folder,
        Err(error) => return fail(&error),
    };
    let prepared = app::start().and_then(|app| prepare(folder.path(), app));
    match prepared {
        Ok((address, admin, token)) => {
            print(&lines(folder.path(), address, admin, &token));
            process::run(vec![folder.path().join("menshen.yaml")])
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &io::Error) -> ExitCode {
    complain(&format!("menshen: the demo cannot start: {error}\n"));
    ExitCode::FAILURE
}

/// Writes policy and key, and signs a token.
fn prepare(folder: &Path, app: SocketAddr) -> io::Result<(SocketAddr, SocketAddr, String)> {
    let (address, admin) = (free(8080)?, free(9901)?);
    let key: String = (0..4).map(|_| format!("{:016x}", identifiers::random())).collect();
    fs::write(folder.join("demo.key"), &key)?;
    private(&folder.join("demo.key"))?;
    let policy = POLICY
        .replace("${DEMO_ADDRESS}", &address.to_string())
        .replace("${DEMO_ADMIN}", &admin.to_string())
        .replace("${DEMO_FOLDER}", &folder.display().to_string())
        .replace("${DEMO_APP}", &app.to_string());
    fs::write(folder.join("menshen.yaml"), policy)?;
    Ok((address, admin, token(key.as_bytes())))
}

fn private(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// The usual port when nobody has it, else any.
fn free(port: u16) -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", port)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?.local_addr()
}

/// A token of one hour for the visitor of the demo.
fn token(key: &[u8]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let head = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = json!({
        "iss": "demo", "sub": "visitor", "permission": ["file:write"], "iat": now, "exp": now + 3600,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn lines(folder: &Path, address: SocketAddr, admin: SocketAddr, token: &str) -> String {
    let folder = folder.display();
    format!(
        r#"Menshen demo: http://{address} with a small app behind it. Paste into another terminal:

# a token, and what becomes of its absence
export TOKEN={token}
curl -i http://{address}/api/me
curl -s http://{address}/api/me -H "Authorization: Bearer $TOKEN"

# a good upload: the app is told what was checked
echo {PNG} | base64 -d > /tmp/menshen-good.png
curl -s http://{address}/api/files -H "Authorization: Bearer $TOKEN" -F file=@/tmp/menshen-good.png

# an infected one (EICAR, the harmless test file), and a script that calls itself a picture
printf 'X5O!P%%@AP[4\\PZX54(P^)7CC)7}}$%s' 'EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*' > /tmp/menshen-eicar.txt
curl -i http://{address}/api/files -H "Authorization: Bearer $TOKEN" -F file=@/tmp/menshen-eicar.txt
printf '<?php system($_GET[0]); ?>' > /tmp/menshen-shell.png
curl -i http://{address}/api/files -H "Authorization: Bearer $TOKEN" -F file=@/tmp/menshen-shell.png

# a socket, opened with the token in its subprotocol: 101 with it, 401 without
curl -sv -N -m 1 http://{address}/ws -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
  -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
  -H "Sec-WebSocket-Protocol: bearer, $TOKEN" 2>&1 | grep '^< '
# or in a browser, on http://{address}/: new WebSocket('ws://{address}/ws', ['bearer', '…'])

# a burst: ten pass, then 429 until the rate allows more
for i in $(seq 15); do curl -s -o /dev/null -w '%{{http_code}} ' http://{address}/api/burst; done; echo

# what it wrote: no token in it
tail -n 3 {folder}/access.log {folder}/audit.jsonl; curl -s http://{admin}/metrics | grep menshen_denied

The policy is {folder}/menshen.yaml: change it, and it takes effect. The operator's page is http://{admin}/. Ctrl-C ends it.

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_another_port_when_the_usual_one_is_taken() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap().port();
        assert_ne!(free(taken).unwrap().port(), taken);
    }
}
