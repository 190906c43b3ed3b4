// Droppers and reverse shells: what fetches a program and starts it, or opens a line to whoever waits for it. Written
// for Menshen; used by `scanner.backend: builtin` where `scanner.rules` names no folder of your own.

rule Dropper_PowerShell_Cradle
{
    meta:
        description = "PowerShell that fetches a script and runs it without writing it down"
    strings:
        $run = /\b(IEX|Invoke-Expression)\b[\s\(&\$]{0,10}(New-Object\s+["']?(System\.)?Net\.WebClient|Invoke-WebRequest|Invoke-RestMethod|iwr|irm)\b/ ascii wide nocase
        $piped = /\bNet\.WebClient["']?\s*\)\s*\.\s*Download(String|Data)\s*\([^\r\n]{1,300}\|\s*(IEX|Invoke-Expression)\b/ ascii wide nocase
        $piped_too = /\b(Invoke-WebRequest|Invoke-RestMethod|iwr|irm)\b[^\r\n|]{1,300}https?:\/\/[^\r\n|]{1,300}\|\s*(IEX|Invoke-Expression)\b/ ascii wide nocase
    condition:
        any of them
}

rule Dropper_PowerShell_Encoded
{
    meta:
        description = "PowerShell started with a long encoded command"
    strings:
        $encoded = /\b(powershell|pwsh)(\.exe)?["']?\s[^\r\n]{0,200}-e(c|n|nc|nco|ncod|ncode|ncoded|ncodedc|ncodedcommand)?\s+["']?[A-Za-z0-9+\/]{100}/ ascii wide nocase
    condition:
        $encoded
}

rule Dropper_PowerShell_Fetch_And_Start
{
    meta:
        description = "PowerShell that fetches a file and starts it"
    strings:
        $client = /\bNet\.WebClient\b/ ascii wide nocase
        $file = /\.DownloadFile\s*\(/ ascii wide nocase
        $start = /\b(Start-Process|Invoke-Item|saps|ShellExecute)\b/ ascii wide nocase
        $kind = /\.(exe|dll|scr|msi|hta|vbs|bat|cmd)["')]/ ascii wide nocase
    condition:
        all of them
}

rule Dropper_Script_Host
{
    meta:
        description = "A script for Windows Script Host that fetches a file, writes it and starts it"
    strings:
        $shell = /\b(WScript\.Shell|Shell\.Application)\b/ ascii wide nocase
        $fetch = /\b(MSXML2\.(Server)?XMLHTTP|Microsoft\.XMLHTTP|WinHttp\.WinHttpRequest)/ ascii wide nocase
        $write = "ADODB.Stream" ascii wide nocase
        $save = "SaveToFile" ascii wide nocase
    condition:
        all of them
}

rule Dropper_VBA_Starts_By_Itself
{
    meta:
        description = "A macro that runs when its document is opened and starts something"
    strings:
        $module = "Attribute VB_Name" ascii nocase
        // The same as a document holds it: the first of a compressed module's characters are copied as they are.
        $packed = "Attribut\x00e VB_Nam\x00e" ascii
        $opened = /\b(Auto_?Open|Document_?Open|Workbook_?Open|Auto_?Exec|Document_?Close|Auto_?Close)\b/ nocase
        $shell = "WScript.Shell" nocase
        $run = /\bShell\s*\(?\s*["']/ nocase
        $powershell = "powershell" nocase
        $cmd = /\bcmd(\.exe)?\s+\/[ck]\b/ nocase
        $fetch = "URLDownloadToFile" nocase
        $http = /(MSXML2|Microsoft)\.(Server)?XMLHTTP/ nocase
    condition:
        ($module or $packed) and $opened and any of ($shell, $run, $powershell, $cmd, $fetch, $http)
}

rule Dropper_HTA
{
    meta:
        description = "An HTML application that starts a program"
    strings:
        $application = /<hta:application\b/ nocase
        $script = /<script\b/ nocase
        $shell = /\b(WScript\.Shell|Shell\.Application)\b/ nocase
        $program = /\b(powershell|cmd(\.exe)?\s+\/[ck]|mshta|rundll32|regsvr32|bitsadmin|certutil)\b/ nocase
    condition:
        $shell and ($application or ($script and $program))
}

rule Dropper_Shortcut
{
    meta:
        description = "A Windows shortcut that leads to an interpreter"
    strings:
        $program = /\b(powershell|pwsh|mshta|wscript|cscript|rundll32|regsvr32|certutil|bitsadmin|cmd)\.exe\b/ ascii wide nocase
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200 and $program
}

rule Dropper_Borrowed_Tools
{
    meta:
        description = "Windows' own tools made to fetch and run something"
    strings:
        $certutil = /\bcertutil(\.exe)?\s[^\r\n]{0,60}[\-\/]urlcache\s[^\r\n]{0,80}https?:\/\/[^\s"']{4,300}\s+["']?[^\s"']{1,200}\.(exe|dll|bat|ps1|vbs|hta)\b/ ascii wide nocase
        $regsvr32 = /\bregsvr32(\.exe)?\s[^\r\n]{0,60}\/i:["']?https?:\/\// ascii wide nocase
        $mshta = /\bmshta(\.exe)?["']?\s+["']?(https?:\/\/|javascript:|vbscript:)/ ascii wide nocase
        $bitsadmin = /\bbitsadmin(\.exe)?\s+\/transfer\s[^\r\n]{1,100}https?:\/\/[^\s"']{4,300}\s+["']?[^\s"']{1,200}\.(exe|dll|bat|ps1|vbs|hta)\b/ ascii wide nocase
    condition:
        any of them
}

rule Dropper_PDF_Launch
{
    meta:
        description = "A PDF that starts an interpreter when it is opened"
    strings:
        $launch = /\/S\s*\/Launch\b/
        $program = /\((cmd|powershell|mshta|wscript|cscript|rundll32)(\.exe)?\b[^)]{0,300}\)/ nocase
    condition:
        uint32be(0) == 0x25504446 and all of them
}

rule Dropper_RTF_Equation
{
    meta:
        description = "An RTF with an object for the old equation editor (CVE-2017-11882)"
    strings:
        $object = "\\objdata" nocase
        $equation = "4571756174696f6e2e33" nocase
        $class = "02ce020000000000c000000000000046" nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $object and ($equation or $class)
}

rule ReverseShell_Unix
{
    meta:
        description = "A shell whose input and output lead to another machine"
    strings:
        $bash = /\b(ba|z|k)?sh\s+-i\b[^\r\n]{0,40}\/dev\/(tcp|udp)\/[0-9a-zA-Z.\-]{4,80}\/[0-9]{1,5}/
        $descriptor = /\bexec\s+[0-9]{1,3}<>\s*\/dev\/tcp\/[0-9a-zA-Z.\-]{4,80}\/[0-9]{1,5}/
        $netcat = /\b(nc|ncat|netcat)(\.traditional|\.exe)?\s[^\r\n|;]{0,80}\s?-(e|c)\s*["']?\/bin\/(ba|da|z)?sh\b/
        $fifo = /\bmkfifo\s+(\/tmp\/[^\s;]{1,60})[^\r\n]{1,120}\/bin\/(ba|da)?sh\s+-i[^\r\n]{1,60}\|\s*(nc|ncat|netcat|openssl|telnet)\b/
        $socat = /\bsocat\s[^\r\n]{0,100}exec:["']?(\/bin\/)?(ba|da|z)?sh[^\r\n]{0,100}tcp(4|6)?:/ nocase
    condition:
        any of them
}

rule ReverseShell_Script
{
    meta:
        description = "A script that connects to another machine and gives it a shell"
    strings:
        $python_socket = /\bsocket\.socket\s*\(/
        $python_dup = /\bos\.dup2\s*\(\s*[a-z_]{1,20}\.fileno\s*\(\s*\)/
        $python_shell = /["']\/bin\/(ba|da)?sh["']/
        $perl_socket = /\buse\s+Socket\b/
        $perl_dup = /\bopen\s*\(\s*STD(IN|OUT)\s*,\s*["'][<>]&\s*[A-Z]{1,10}["']\s*\)/
        $perl_shell = /\bexec\s*\(?\s*\{?\s*["']\/bin\/(ba)?sh\b/
        $php_socket = /\bfsockopen\s*\(/
        $php_shell = /\b(exec|shell_exec|system|passthru|popen|proc_open)\s*\(\s*(["'](\/bin\/)?(ba)?sh\s+-i|\$shell)/
        $ruby = /\bTCPSocket\.(new|open)\s*\([^\r\n]{1,120}\b(exec|IO\.popen|spawn)\b[^\r\n]{0,40}(sh|cmd)\b/
        $powershell_client = /\bNet\.Sockets\.TCPClient\s*\(/ ascii wide nocase
        $powershell_stream = /\.GetStream\s*\(\s*\)/ ascii wide nocase
        $powershell_run = /\b(iex|Invoke-Expression)\s+\$[a-z]{1,12}\s+2>&1/ ascii wide nocase
    condition:
        all of ($python_*) or all of ($perl_*) or all of ($php_*) or $ruby or all of ($powershell_*)
}
