//! `lifeboat repo connect`: gets the right to use somebody's drive, and keeps it.

use crate::display::safe;
use crate::error::{Exit, Failure, Outcome};
use crate::folders;
use crate::output::Output;
use crate::prompt;
use crate::session::Session;
use serde_json::json;
use service::logins;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::oauth::{
    BrowserOptions, ClientId, CommandLogin, FileLogin, FormClient, KeepLogin, Login, Provider, by_browser,
    by_device, by_pasting,
};
use storage::{DriveService, RemoteOptions, StoreError, Wait, is_login_name};
use zeroize::Zeroizing;

/// Log in to Google Drive, Dropbox or OneDrive
#[derive(clap::Args)]
#[command(after_help = "\
lifeboat has no client id of its own: each of these services binds one to an owner who answers for its
users, and there is nobody here who could. Make one of your own, which takes some minutes and costs nothing:

  gdrive    console.cloud.google.com, enable the Drive API, credentials, OAuth client ID, kind
            \"TVs and limited input devices\" (or \"Desktop app\" with --browser). It comes with a secret.
  dropbox   dropbox.com/developers/apps, scoped access, app folder, permissions files.metadata.read,
            files.content.read and files.content.write. The \"app key\" is the id; no secret is needed.
            With --browser, register http://localhost:53682/ as a redirect address.
  onedrive  entra.microsoft.com, app registrations, personal and work accounts, platform \"mobile and
            desktop\" with http://localhost, allow public client flows. No secret is needed.

The login is kept with mode 0600 in the configuration folder, or handed to --keep-command on its
standard input; then LIFEBOAT_GDRIVE_LOGIN_COMMAND (or _DROPBOX_, _ONEDRIVE_) names the command that
prints it. A client secret is read from --client-secret-file, LIFEBOAT_CLIENT_SECRET, or asked for.

Examples:
  lifeboat repo connect gdrive --client-id 1234-ab.apps.googleusercontent.com --client-secret-file secret
  lifeboat init -r gdrive://backup/laptop
  lifeboat repo connect dropbox --client-id a1b2c3 --login work
  lifeboat init -r dropbox://backup?login=work
  lifeboat repo connect onedrive --client-id 11112222-aaaa-bbbb --keep-command 'pass insert -mf onedrive'")]
pub(super) struct Args {
    /// Whose drive: gdrive, dropbox or onedrive
    #[arg(value_name = "SERVICE", value_parser = service_of)]
    service: DriveService,
    /// The id of your registration with the service
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// Read its secret from the first line of this file
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// A name for this login, where there are several of one service
    #[arg(long, value_name = "NAME", value_parser = login_name)]
    login: Option<String>,
    /// Log in with a browser on this machine
    #[arg(long, conflicts_with = "paste")]
    browser: bool,
    /// The port on which the browser's answer is awaited
    #[arg(long, value_name = "PORT", requires = "browser")]
    port: Option<u16>,
    /// Log in with any browser and copy the code that is shown (dropbox)
    #[arg(long)]
    paste: bool,
    /// Hand the login to this command of the shell instead of keeping it in a file
    #[arg(long, value_name = "COMMAND")]
    keep_command: Option<String>,
    /// Ask another authorisation server: URL/device, URL/authorize and URL/token
    #[arg(long, value_name = "URL", hide = true)]
    authorization_server: Option<String>,
}

fn service_of(text: &str) -> Result<DriveService, String> {
    DriveService::of_scheme(text).ok_or_else(|| "it is one of gdrive, dropbox and onedrive".to_string())
}

fn login_name(text: &str) -> Result<String, String> {
    match is_login_name(text) {
        true => Ok(text.to_string()),
        false => Err("it has letters, digits, - and _".to_string()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Outcome<Exit> {
    let provider = match &args.authorization_server {
        Some(base) => Provider::at(args.service, base),
        None => Provider::of(args.service),
    };
    let client = ClientId { id: args.client_id.clone(), secret: secret(args)?.map(|text| text.to_string()) };
    let pem = session.global.cacert.as_ref().map(std::fs::read).transpose();
    let pem = pem.map_err(|e| crate::error::local("cannot read the certificates", e))?;
    let options = RemoteOptions { extra_roots_pem: pem.as_deref(), ..RemoteOptions::default() };
    let forms = FormClient::new(&options)?;
    let login = obtain(session, args, &forms, &provider, &client)
        .map_err(|e| Failure::from(e).during(format!("cannot log in to {}", args.service.shown())))?;
    let name = match &args.login {
        None => args.service.scheme().to_string(),
        Some(login) => format!("{}-{login}", args.service.scheme()),
    };
    let keeper = keeper(args, &name);
    keeper.keep(&login)?;
    tell(session, args, &*keeper)
}

fn keeper(args: &Args, name: &str) -> Arc<dyn KeepLogin> {
    match &args.keep_command {
        Some(command) => {
            let words = logins::shell(command);
            Arc::new(CommandLogin { read: words.clone(), keep: Some(words) })
        }
        None => Arc::new(FileLogin(logins::path(&folders::folders(), name))),
    }
}

/// The client's secret; services that want one and get none say so themselves.
fn secret(args: &Args) -> Outcome<Option<Zeroizing<String>>> {
    if let Some(path) = &args.client_secret_file {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|e| crate::error::local(format!("cannot read {}", path.display()), e))?;
        return Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().trim().to_string())));
    }
    if let Some(secret) = folders::variable("LIFEBOAT_CLIENT_SECRET") {
        return Ok(Some(Zeroizing::new(secret)));
    }
    if args.service == DriveService::Gdrive && prompt::is_possible() {
        return prompt::secret("Client secret").map(Some);
    }
    Ok(None)
}

fn obtain(
    session: &Session,
    args: &Args,
    forms: &FormClient,
    provider: &Provider,
    client: &ClientId,
) -> Result<Login, StoreError> {
    let out = &session.out;
    let wait = waiting(session);
    if args.browser {
        let options = BrowserOptions { port: args.port };
        return by_browser(forms, provider, client, options, &|url| show_address(out, url), &wait);
    }
    if args.paste || provider.device_url.is_none() {
        return by_pasting(forms, provider, client, &|url| {
            show_address(out, url);
            read_code(out)
        });
    }
    let show = |code: &storage::oauth::DevicePrompt| {
        let minutes = code.expires_in.as_secs() / 60;
        if out.json {
            let told = out.object(&json!({
                "message_type": "device_code", "url": code.url, "code": code.code,
                "expires_seconds": code.expires_in.as_secs(),
            }));
            // Whoever reads the events is gone; the code is of no use to anybody then.
            drop(told);
        } else {
            let (url, code) = (safe(&code.url), safe(&code.code));
            out.message(format!(
                "Open {url} in any browser and type {code}\nThe code is good for {minutes} minutes."
            ));
        }
    };
    by_device(forms, provider, client, &show, &wait)
}

fn show_address(out: &Output, url: &str) {
    if out.json {
        drop(out.object(&json!({ "message_type": "open_address", "url": url })));
    } else {
        out.message(format!("Open this address in a browser:\n\n  {}\n", safe(url)));
    }
}

/// The copied code, from a terminal or a pipe.
fn read_code(out: &Output) -> Result<String, StoreError> {
    if prompt::is_possible() {
        out.message("Then paste the code that is shown there.");
    }
    let mut line = String::new();
    let read = std::io::BufRead::read_line(&mut std::io::stdin().lock(), &mut line);
    read.map_err(|e| StoreError::new(storage::ErrorKind::Other, "read the code").because(e))?;
    Ok(line)
}

/// Waits in small steps, so that a signal ends it.
fn waiting(session: &Session) -> Wait {
    let cancel = session.cancel.clone();
    Arc::new(move |time: Duration| {
        let mut left = time;
        while !left.is_zero() {
            if cancel.is_set() {
                return ControlFlow::Break(());
            }
            let step = left.min(Duration::from_millis(50));
            std::thread::sleep(step);
            left -= step;
        }
        ControlFlow::Continue(())
    })
}

fn tell(session: &Session, args: &Args, keeper: &dyn KeepLogin) -> Outcome<Exit> {
    let (service, kept) = (args.service, keeper.shown());
    let login = args.login.as_ref().map(|name| format!("?login={name}")).unwrap_or_default();
    if session.out.json {
        session.out.object(&json!({
            "message_type": "connected", "service": service.scheme(), "login": args.login, "kept_in": kept,
        }))?;
        return Ok(Exit::Ok);
    }
    session.out.human(format!("logged in to {}; the login is kept in {}", service.shown(), safe(&kept)))?;
    session
        .out
        .info(format!("make a repository with: lifeboat init -r '{}://backup{login}'", service.scheme()));
    Ok(Exit::Ok)
}
