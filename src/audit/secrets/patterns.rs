//! What counts as a secret, as data: one entry a rule, with samples that must be found and samples that must not.
//!
//! A pattern is a regular expression over bytes that starts at one of its keywords (which are found in any case); its first
//! group is the secret. In samples `·` is taken out, so that this file holds nothing that a scanner would stumble over.

use crate::audit::{Level, Rule};

/// What may stand before a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Anything: the keyword may be the end of a longer name.
    Anything,
    /// Nothing that could belong to a token: neither a letter nor a digit nor `_`, `-`, `+`, `/`.
    Boundary,
    /// The start of a line, or a colon.
    LineOrColon,
}

/// What the secret must stand up to beside the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// As random as a token: at least this much entropy, in hundredths of a bit for each character, and no example.
    Random(u32),
    /// A word that somebody chose: no variable, no example, none of the words that stand for a password.
    Chosen,
    /// The base64 body of a private key behind its first line, written out or with `\n` in it.
    KeyBody,
    /// base64 of a private key.
    EncodedKey,
    /// base64 of `user:password`.
    Login,
    /// A JSON Web Token: its header names an algorithm.
    Jwt,
    /// A value given to something whose name says that it is secret.
    Assigned,
}

/// One rule with how it is looked for.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) rule: Rule,
    pub(super) keywords: &'static [&'static str],
    pub(super) behind: Behind,
    pub(super) pattern: &'static str,
    pub(super) test: Test,
    /// How many characters of the secret may be shown: those that every such token starts with.
    pub(super) shown: usize,
    #[cfg_attr(not(test), expect(dead_code, reason = "tested, not used"))]
    pub(super) found: &'static [&'static str],
    #[cfg_attr(not(test), expect(dead_code, reason = "tested, not used"))]
    pub(super) spared: &'static [&'static str],
}

const fn rule(id: &'static str, title: &'static str, help: &'static str) -> Rule {
    Rule { id, level: Level::Error, title, help }
}

const ROTATE: &str = "Whoever has the image has it. Take it out, give it when the container starts, and replace it where it was issued if \
     it ever left this machine.";
const REPLACE_KEY: &str = "Whoever has the image can act as its owner. Take it out, mount it when the container starts, and make a new key if \
     it ever left this machine.";

pub(super) static PATTERNS: &[Pattern] = &[
    Pattern {
        rule: rule("secret-private-key", "a private key", REPLACE_KEY),
        keywords: &["-----BEGIN "],
        behind: Behind::Anything,
        // The label is that of RFC 7468, of OpenSSH, of PGP or an older one; the body is judged by the test.
        pattern: r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----((?s:.{60,}))",
        test: Test::KeyBody,
        shown: 0,
        found: &[
            "-----BEGIN PRI·VATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGqzH5rnZ3mTqy0cL9bFJ2x8kVvWd1s4eUoRt7hYpNQa\n-----END PRIVATE KEY-----\n",
            "k = '-----BEGIN RSA PRI·VATE KEY-----\\nMIIEpAIBAAKCAQEAx9pQ2rT7vZk3LmNw5sYhJdFcUeBgOiAyXtWq\\nRzPbVlKjHnGmSfDaQwErTyUiOpLkJhGfDsAzXcVb\\n-----END'",
            "-----BEGIN OPENSSH PRI·VATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz\nc2gtZWQyNTUxOQAAACDqX7hJ2mVtRz\n",
            "-----BEGIN RSA PRI·VATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF0123456789ABCDEF\n\nq8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDaQwErTyUiOpLkJhG\n",
            "-----BEGIN PGP PRI·VATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQOYBF2x8kVBCADq8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDa\n",
            "{\"private_key\": \"-----BEGIN PRI·VATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDq8Zt3vXk1LmNw\\n5sYh\"}",
        ],
        spared: &[
            "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\nRTESMBAGA1UEChMJQmFsdGltb3JlMRMwEQYDVQQLEwpD\n",
            "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx9pQ2rT7vZk3LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKj\n",
            "if text.startswith('-----BEGIN PRIVATE KEY-----') and text.endswith('-----END PRIVATE KEY-----'): return load(text, None)",
            "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\nand more text that comes after it, as documents have it, and goes on and on\n",
        ],
    },
    Pattern {
        rule: rule("secret-encoded-key", "a private key in base64", REPLACE_KEY),
        keywords: &["LS0tLS1CRUdJTi"],
        behind: Behind::Boundary,
        pattern: r"(LS0tLS1CRUdJTi(?:[A-Za-z0-9+/=]|\\n|[\r\n ]){100,})",
        test: Test::EncodedKey,
        shown: 0,
        found: &[
            "client-key-data: LS0tLS1CRUdJTi·BQUklWQVRFIEtFWS0tLS0tCk1DNENBUUF3QlFZREsyVndCQ0lFSUdxekg1cm5aM21UcXkwY0w5YkZKMng4a1Z2V2QxczRlVW9SdDdoWXBOUWEKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=",
        ],
        spared: &[
            "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSURkekNDQWwrZ0F3SUJBZ0lFQWdBQXVUQU5CZ2txaGtpRzl3MEJBUVVGQURCYU1Rc3dDUVlEVlFRR0V3SkoK",
        ],
    },
    Pattern {
        rule: rule("secret-putty-key", "a private key of PuTTY", REPLACE_KEY),
        keywords: &["PuTTY-User-Key-File-"],
        behind: Behind::Boundary,
        pattern: r"PuTTY-User-Key-File-[0-9]: (?s:.+?)Private-Lines: [0-9]{1,3}\r?\n([A-Za-z0-9+/=\r\n]{40,})",
        test: Test::Random(350),
        shown: 0,
        found: &[
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: k\nPublic-Lines: 1\nAAAAC3Nz\nPrivate-Lines: 1\nAAAAIGqzH5rnZ3m·Tqy0cL9bFJ2x8kVvWd1s4eUoRt7hYpNQa\nPrivate-MAC: 1\n",
        ],
        spared: &["if line.startswith('PuTTY-User-Key-File-2: ') then read Private-Lines: 1\n"],
    },
    Pattern {
        rule: rule("secret-age-key", "a private key of age", REPLACE_KEY),
        keywords: &["AGE-SECRET-KEY-1"],
        behind: Behind::Boundary,
        pattern: r"(AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58})(?:[^A-Z0-9]|\z)",
        test: Test::Random(350),
        shown: 16,
        found: &["AGE-SECRET-KEY-1·QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQ8Z9R2X5G3T7V4D6W0S2J5N8KH\n"],
        spared: &[
            "AGE-SECRET-KEY-1...\n",
            "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ\n",
        ],
    },
    Pattern {
        rule: rule("secret-aws-access-key", "an AWS access key ID", ROTATE),
        keywords: &["AKIA", "ASIA"],
        behind: Behind::Boundary,
        pattern: r"((?:AKIA|ASIA)[A-Z2-7]{16})(?:[^A-Za-z0-9+/=_-]|\z)",
        test: Test::Random(280),
        shown: 4,
        found: &["aws_access_key_id = AKIA·Q3EGZ7WXTN5VJ2LM", "\"ASIA·Y34FZKBOKMUT6XQD\""],
        spared: &["AKIAIOSFODNN7EXAMPLE", "AKIAAAAAAAAAAAAAAAAA", "xAKIAQ3EGZ7WXTN5VJ2LM", "AKIAQ3EGZ7WXTN5VJ2LMN"],
    },
    Pattern {
        rule: rule("secret-aws-secret-key", "an AWS secret access key", ROTATE),
        keywords: &["secret_access_key", "secretaccesskey", "secret-access-key", "aws_secret_key"],
        behind: Behind::Anything,
        pattern: r#"(?i:aws_secret_key|secret[_-]?access[_-]?key)["']?[\s=:>,]{1,6}["']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)"#,
        test: Test::Random(400),
        shown: 0,
        found: &[
            "aws_secret_access_key = q8Zt3vXk1LmNw5sYhJdF·cUeBgOiAyXtWqRzPbVl+",
            "\"SecretAccessKey\": \"q8Zt3vXk1LmNw5sYhJdF·cUeBgOiAyXtWqRzPbVl/\"",
        ],
        spared: &["aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "SECRET_ACCESS_KEY=$SECRET"],
    },
    Pattern {
        rule: rule("secret-b2-key", "a Backblaze B2 application key", ROTATE),
        keywords: &["K00"],
        behind: Behind::Boundary,
        pattern: r"(K00[0-9][A-Za-z0-9+/]{27})(?:[^A-Za-z0-9+/=_-]|\z)",
        test: Test::Random(380),
        shown: 4,
        found: &["B2_APPLICATION_KEY=K005·q8Zt3vXk1LmNw5sYhJdFcUeBgOi"],
        spared: &["K00-not-a-real-key", "K0000000000000000000000000000000", "K005q8Zt3vXk1LmNw5sYhJdFcUeBgOiA"],
    },
    Pattern {
        rule: rule("secret-b2-key-id", "a Backblaze B2 application key ID", ROTATE),
        keywords: &[
            "application_key_id",
            "application-key-id",
            "applicationkeyid",
            "b2_account",
            "_b2_key_id",
            "keyid",
        ],
        behind: Behind::Anything,
        pattern: r#"(?i:application[_-]?key[_-]?id|b2_account(?:_id)?|_b2_key_id|keyid)["']?[\s=:>,]{1,6}["']?(00[0-9][0-9a-f]{22})(?:[^0-9A-Za-z]|\z)"#,
        test: Test::Random(200),
        shown: 3,
        found: &[
            "B2_APPLICATION_KEY_ID=005·a1b2c3d4e5f60000000001",
            "\"applicationKeyId\": \"002·9f8e7d6c5b4a0000000012\"",
        ],
        spared: &["B2_APPLICATION_KEY_ID=id", "application_key_id=0000000000000000000000000"],
    },
    Pattern {
        rule: rule("secret-datadog-key", "a Datadog API or application key", ROTATE),
        keywords: &["dd_ap", "dd-ap", "ddap", "datadog"],
        behind: Behind::Anything,
        pattern: r#"(?i:(?:dd|datadog)[_.-]?(?:api|app|application)[_.-]?key)["']?[\s=:>,]{1,6}["']?([0-9a-fA-F]{40}|[0-9a-fA-F]{32})(?:[^0-9A-Za-z]|\z)"#,
        test: Test::Random(300),
        shown: 0,
        found: &[
            "DD_API_KEY=9a3f·5c7e1b2d4f608192a3b4c5d6e7f8",
            "ENV DD_APP_KEY 9a3f·5c7e1b2d4f608192a3b4c5d6e7f801234567",
            "datadog_api_key: '9A3F·5C7E1B2D4F608192A3B4C5D6E7F8'",
        ],
        spared: &["DD_API_KEY=00000000000000000000000000000000", "DD_API_KEY_FILE=/run/secrets/dd", "dd_api_key=None"],
    },
    Pattern {
        rule: rule("secret-datadog-token", "a Datadog application key", ROTATE),
        keywords: &["ddapp_"],
        behind: Behind::Boundary,
        pattern: r"(ddapp_[A-Za-z0-9]{34})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(350),
        shown: 6,
        found: &["ddapp_·q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqR"],
        spared: &["ddapp_key", "ddapp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
    },
    Pattern {
        rule: rule("secret-npm-token", "an npm token", ROTATE),
        keywords: &["npm_"],
        behind: Behind::Boundary,
        pattern: r"(npm_[A-Za-z0-9]{36})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(350),
        shown: 4,
        found: &["//registry.invalid/:_auth·Token=npm·_q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzP"],
        spared: &[
            "npm_config_registry",
            "npm_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "npm_config_update_notifier_interval_setting_x",
        ],
    },
    Pattern {
        rule: rule("secret-npmrc", "a login of an .npmrc", ROTATE),
        keywords: &["_authToken", "_auth", "_password"],
        behind: Behind::LineOrColon,
        pattern: r#"(?:_authToken|_auth|_password)[ \t]*=[ \t]*["']?([^\s"'$`{}<>();,]{8,})"#,
        test: Test::Chosen,
        shown: 0,
        found: &[
            "//registry.invalid/:_auth·Token=8d3c·7f5a-2b1e-4c6d-9f80-a1b2c3d4e5f6",
            "_au·th = dXNlcjpwYXNzd29yZDEyMw==",
        ],
        spared: &[
            "//registry.invalid/:_authToken=${NPM_TOKEN}",
            "_authToken=<token>",
            "_auth = getAuth(registry)",
            "_password",
        ],
    },
    Pattern {
        rule: rule("secret-github-token", "a GitHub token", ROTATE),
        keywords: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        behind: Behind::Boundary,
        pattern: r"((?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,244}))(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(350),
        shown: 4,
        found: &[
            "ghp_·q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzP",
            "github_pat_·11ABCDEFG0q8Zt3vXk1LmNw5_sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDaQwErTyUiOpLkJhGf",
        ],
        spared: &["ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ghp_short"],
    },
    Pattern {
        rule: rule("secret-gitlab-token", "a GitLab token", ROTATE),
        keywords: &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"],
        behind: Behind::Boundary,
        pattern: r"(gl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_.-]{20,300})(?:[^A-Za-z0-9_.-]|\z)",
        test: Test::Random(330),
        shown: 6,
        found: &["glpat-·q8Zt3vXk1LmNw5sYhJdF"],
        spared: &["glpat-xxxxxxxxxxxxxxxxxxxx", "glpat-token"],
    },
    Pattern {
        rule: rule("secret-slack-token", "a Slack token", ROTATE),
        keywords: &["xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-", "xoxe", "xapp-"],
        behind: Behind::Boundary,
        pattern: r"((?:xox[abprs]|xoxe(?:\.xox[bp])?|xapp)-[0-9A-Za-z-]{24,250})(?:[^A-Za-z0-9-]|\z)",
        test: Test::Random(300),
        shown: 5,
        found: &["xoxb-·123456789012-1234567890123-q8Zt3vXk1LmNw5sYhJdFcUeB"],
        spared: &["xoxb-your-token-here", "xoxb-xxxxxxxxxxxx-xxxxxxxxxxxx-xxxxxxxxxxxx"],
    },
    Pattern {
        rule: rule("secret-slack-webhook", "a Slack webhook", ROTATE),
        keywords: &["/services/T"],
        behind: Behind::Anything,
        pattern: r"/services/(T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30})(?:[^A-Za-z0-9]|\z)",
        test: Test::Random(350),
        shown: 1,
        found: &["https://hooks.invalid/services/T·02ABCDEFGH/B03JKLMNPQR/q8Zt3vXk1LmNw5sYhJdFcUeB"],
        spared: &["https://hooks.invalid/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"],
    },
    Pattern {
        rule: rule("secret-stripe-key", "a Stripe key", ROTATE),
        keywords: &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"],
        behind: Behind::Boundary,
        pattern: r"((?:[sr]k_(?:live|test)_[A-Za-z0-9]{20,247}|whsec_[A-Za-z0-9+/]{32,100}))(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(330),
        shown: 8,
        found: &["sk_live_·q8Zt3vXk1LmNw5sYhJdFcUeB"],
        spared: &["sk_test_xxxxxxxxxxxxxxxxxxxxxxxx", "sk_live_"],
    },
    Pattern {
        rule: rule("secret-openai-key", "an OpenAI key", ROTATE),
        keywords: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"],
        behind: Behind::Boundary,
        pattern: r"((?:sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,250}|sk-[A-Za-z0-9]{48}))(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(380),
        shown: 3,
        found: &[
            "OPENAI_API_KEY=sk-·proj-q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDa",
            "sk-·q8Zt3vXk1LmNw5sYhJdFT3BlbkFJgOiAyXtWqRzPbVlKjHnG",
        ],
        spared: &["sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk-button-primary-large", "disk-usage"],
    },
    Pattern {
        rule: rule("secret-anthropic-key", "an Anthropic key", ROTATE),
        keywords: &["sk-ant-"],
        behind: Behind::Boundary,
        pattern: r"(sk-ant-[a-z]{2,8}[0-9]{2}-[A-Za-z0-9_-]{40,200})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(380),
        shown: 7,
        found: &["sk-ant-·api03-q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDaQwErTyUiOpLkJhGf"],
        spared: &["sk-ant-api03-...", "sk-ant-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
    },
    Pattern {
        rule: rule("secret-google-key", "a Google API key or OAuth secret", ROTATE),
        keywords: &["AIza", "GOCSPX-", "ya29."],
        behind: Behind::Boundary,
        pattern: r"((?:AIza[0-9A-Za-z_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{40,}))(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(350),
        shown: 4,
        found: &["AIza·Syq8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWq", "GOCSPX-·q8Zt3vXk1LmNw5sYhJdFcUeBgOiA"],
        spared: &["AIzaXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "ya29.token"],
    },
    Pattern {
        rule: rule("secret-pypi-token", "a PyPI token", ROTATE),
        keywords: &["pypi-"],
        behind: Behind::Boundary,
        pattern: r"(pypi-AgE[A-Za-z0-9_-]{50,})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(380),
        shown: 5,
        found: &[
            "password = pypi-·AgEIcHlwaS5vcmcCJGq8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHnGmSfDaQwErTyUiOpLkJhGf",
        ],
        spared: &["pypi-AgEIcHlwaS5vcmc", "pypi-publish-action"],
    },
    Pattern {
        rule: rule("secret-huggingface-token", "a Hugging Face token", ROTATE),
        keywords: &["hf_"],
        behind: Behind::Boundary,
        pattern: r"(hf_[A-Za-z]{34})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(380),
        shown: 3,
        found: &["hf_·qZtvXkLmNwsYhJdFcUeBgOiAyXtWqRzPbV"],
        spared: &["hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "hf_hub_download"],
    },
    Pattern {
        rule: rule("secret-sendgrid-key", "a SendGrid key", ROTATE),
        keywords: &["SG."],
        behind: Behind::Boundary,
        pattern: r"(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(400),
        shown: 3,
        found: &["SG.·q8Zt3vXk1LmNw5sYhJdFcU.eBgOiAyXtWqRzPbVlKjHnGmSfDaQwErTyUiOpLkJhGf"],
        spared: &["SG.xxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
    },
    Pattern {
        rule: rule("secret-vault-token", "a Vault token", ROTATE),
        keywords: &["hvs.", "hvb.", "hvr."],
        behind: Behind::Boundary,
        pattern: r"(hv[sbr]\.[A-Za-z0-9_-]{24,300})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Random(350),
        shown: 4,
        found: &["VAULT_TOKEN=hvs.·q8Zt3vXk1LmNw5sYhJdFcUeB"],
        spared: &["hvs.length", "hvs.xxxxxxxxxxxxxxxxxxxxxxxx"],
    },
    Pattern {
        rule: rule("secret-azure-key", "the key of an Azure storage account", ROTATE),
        keywords: &["AccountKey"],
        behind: Behind::Anything,
        pattern: r#"(?i:accountkey)["']?[=: ]{1,4}["']?([A-Za-z0-9+/]{86}==)"#,
        test: Test::Random(400),
        shown: 0,
        found: &[
            "AccountName=a;AccountKey=q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlK·jHnGmSfDaQwErTyUiOpLkJhGfDsAzXcVbNm1q2w3e4r5t6==;",
        ],
        spared: &["AccountKey=<key>;"],
    },
    Pattern {
        rule: rule("secret-netrc", "a login of a .netrc", ROTATE),
        keywords: &["machine ", "machine\t"],
        behind: Behind::Boundary,
        pattern: r"machine\s{1,8}[^\s]{1,255}\s{1,8}(?:login\s{1,8}[^\s]{1,255}\s{1,8})?password\s{1,8}([^\s]{3,255})(?:\s|\z)",
        test: Test::Chosen,
        shown: 0,
        found: &[
            "ma·chine host.invalid\n  login me\n  password Tr0ubador-7\n",
            "ma·chine host.invalid login me password Tr0ubador-7",
        ],
        spared: &[
            "machine host.invalid login me password <password>\n",
            "a virtual machine with a password of its own",
        ],
    },
    Pattern {
        rule: rule("secret-docker-auth", "a login of a container registry", ROTATE),
        keywords: &["\"auth\""],
        behind: Behind::Anything,
        pattern: r#""auth"\s{0,4}:\s{0,4}"([A-Za-z0-9+/]{8,}={0,2})""#,
        test: Test::Login,
        shown: 0,
        found: &["{\"auths\": {\"registry.invalid\": {\"auth\": \"bWU6VHIwdWJ·hZG9yLTc=\"}}}"],
        spared: &["{\"auth\": \"Basic\"}", "{\"auth\": \"authentication\"}", "{\"auth\": \"dXNlcjpwYXNzd29yZA==\"}"],
    },
    Pattern {
        rule: rule("secret-jwt", "a JSON Web Token", ROTATE),
        keywords: &["eyJ"],
        behind: Behind::Boundary,
        pattern: r"(eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,})(?:[^A-Za-z0-9_-]|\z)",
        test: Test::Jwt,
        shown: 3,
        found: &[
            "Bearer eyJ·hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI5ODc2NTQzMjEwIn0.q8Zt3vXk1LmNw5sYhJdFcUeBgOiAyXtWqRzPbVlKjHn",
        ],
        spared: &["eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "eyJub3QiOiJhIGp3dCJ9.eyJzdWIiOiIxIn0.q8Zt3vXk1LmNw5sYhJdF"],
    },
    Pattern {
        rule: rule("secret-url-password", "a password in a URL", ROTATE),
        keywords: &["://"],
        behind: Behind::Anything,
        pattern: r#"://[^\s/:@"'<>\\{}$%()\[\],*|`#?]{0,80}:((?:[^\s/@"'<>\\{}$%()\[\],*|`#?:]|%[0-9A-Fa-f]{2}){4,200})@[A-Za-z0-9\[]"#,
        test: Test::Chosen,
        shown: 0,
        found: &["https:·//me:Tr0ubador-7@git.invalid/a.git", "redis:·//:Tr0ubador%2D7@cache:6379/0"],
        spared: &[
            "https://user:password@host.invalid/",
            "postgres://user:${PASSWORD}@db/x",
            "http://[::1]:8080/a@b",
            "https://host.invalid:8080/@scope/name",
            "git+ssh://git@host.invalid:group/a.git",
        ],
    },
    Pattern {
        rule: rule(
            "secret-assigned",
            "what looks like a secret",
            "Its name and its randomness say so. Take it out, give it when the container starts, and replace it where it was issued if \
             it ever left this machine.",
        ),
        keywords: &["key", "token", "secret", "passw", "passphrase", "pwd", "credential"],
        behind: Behind::Anything,
        pattern: r#"(?i:(?:key|token|secret|password|passwd|passphrase|pwd|credential)s?(?:[_-]?(?:base|value|[0-9]{1,2}))?)["']?[ \t]{0,4}(?::=|=>|=|:)[ \t]{0,4}(?:"([^"\\\s]{8,})"|'([^'\\\s]{8,})'|([^\s"'`,;(){}\[\]<>$\\]{8,})(?:[\s"'`,;]|\z))"#,
        test: Test::Assigned,
        shown: 0,
        found: &[
            "API_KEY=q8Zt3vXk1L·mNw5sYhJdF",
            "session_secret: \"9a3f5c7e·1b2d4f608192a3b4c5d6e7f8\"",
            "const token = 'q8Zt3vXk1L·mNw5sYhJdF_cUeB'",
            "DB_PASSWORD=Winter2·031!x",
            "\"secretKey\": \"q8Zt3vXk1L·mNw5sYhJdFcUeBgOiAyXtWqRzP+/==\"",
        ],
        spared: &[
            "API_KEY=$API_KEY",
            "api_key: ${{ secrets.API_KEY }}",
            "token = parser.next_token()",
            "password = getpass.getpass()",
            "primary_key=True",
            "key: \"cache-linux-node-20\"",
            "OPENAI_API_KEY_FILE: /run/secrets/openai_api_key",
            "token=your-token-goes-here-123",
            "secret = process.env.CLIENT_SECRET_2",
            "password: \"changeme123\"",
            "key = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaa1'",
            "keyboard = \"q8Zt3vXk1LmNw5sYhJdF\"",
            "public_key=ssh-ed25519",
        ],
    },
];
