//! ClickHouse behind a server that ends TLS, whose certificate expires.
//!
//! Role: the services reach ClickHouse over it; `dp` and the oracle reach it directly. The server reads the files of its certificate when
//! a connection begins. A renewed certificate is in folder `renewed` beside them, as an authority delivers it.
//! Failure: a file that cannot be written is an error with its path.

use anyhow::Context as _;
use localstack::Temporary;
use testkit::certificates::Authority;
use testkit::secured::front::TlsFront;

/// The name of the files.
const NAME: &str = "server";

/// The server and its files. It ends with this value.
pub(super) struct Certificates {
    authority: Authority,
    folder: tempfile::TempDir,
    _front: TlsFront,
}

impl Certificates {
    /// Starts the server, and lets the services of this stack use it.
    pub(super) fn serve(stack: &mut Temporary) -> anyhow::Result<Certificates> {
        let folder = tempfile::tempdir().context("create a folder for certificates")?;
        let renewed = folder.path().join("renewed");
        std::fs::create_dir(&renewed).with_context(|| format!("create {}", renewed.display()))?;
        let authority = Authority::new("scenarios")?;
        let ca = authority.write(folder.path(), "ca.pem")?;
        let valid = authority.server()?;
        valid.write(&renewed, NAME)?;
        let files = valid.write(folder.path(), NAME)?;
        let target = format!("127.0.0.1:{}", stack.config().ports.clickhouse_http);
        let front = TlsFront::reading(&files, &[&target])?;
        stack.config_mut().service_env.extend([
            (
                "DATA_PROC_CLICKHOUSE_URL".to_owned(),
                format!("https://localhost:{}", front.port()),
            ),
            ("DATA_PROC_TLS_CA".to_owned(), ca.display().to_string()),
        ]);
        Ok(Certificates {
            authority,
            folder,
            _front: front,
        })
    }

    /// Replaces the certificate by one that has expired.
    pub(super) fn expire(&self) -> anyhow::Result<()> {
        self.authority
            .expired_server()?
            .write(self.folder.path(), NAME)
            .map(drop)
    }

    /// The command, in a shell that knows the folder as `$CERTIFICATES`.
    pub(super) fn knowing_the_folder(&self, command: &str) -> String {
        format!("CERTIFICATES='{}'\n{command}", self.folder.path().display())
    }
}
