// Programs in the clothes of documents and images. Written for Menshen; used by `scanner.backend: builtin` where
// `scanner.rules` names no folder of your own.

private rule Looks_Like_Document
{
    condition:
        uint32be(0) == 0x25504446 or    // %PDF
        uint32be(0) == 0x89504E47 or    // PNG
        uint32be(0) == 0x47494638 or    // GIF8
        (uint16be(0) == 0xFFD8 and uint8(2) == 0xFF) or    // JPEG
        uint32be(0) == 0x7B5C7274 or    // {\rt
        uint32be(0) == 0xD0CF11E0 or    // the compound files of older Office
        (uint32be(0) == 0x52494646 and uint32be(8) == 0x57454250)    // WebP
}

rule Disguise_Windows_Program
{
    meta:
        description = "A Windows program inside of a document or an image"
    strings:
        $stub = "!This program cannot be run in DOS mode"
        $stub_too = "This program must be run under Win32"
    condition:
        Looks_Like_Document and any of them
}

rule Disguise_Linux_Program
{
    meta:
        description = "A Linux program inside of a document or an image"
    strings:
        $elf = { 7F 45 4C 46 (01 | 02) 01 01 (00 | 03) 00 00 00 00 00 00 00 00 (02 | 03) 00 (03 | 08 | 28 | 3E | B7 | F3) 00 01 00 00 00 }
    condition:
        Looks_Like_Document and $elf
}

rule Disguise_Windows_Program_In_Hex
{
    meta:
        description = "A Windows program written out in hexadecimal inside of an RTF"
    strings:
        $stub = "546869732070726f6772616d2063616e6e6f742062652072756e20696e20444f53206d6f6465" nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $stub
}

rule Disguise_Windows_Program_In_Base64
{
    meta:
        description = "A Windows program in base64, with what decodes it"
    strings:
        $program = /TV(qQAAMAAAAEAAAA|pQAAIAAAAEAA8A|oAAAAAAAAAAAAA|pAALQAcAAAAOjA)/ ascii wide
        $powershell = "FromBase64String" ascii wide nocase
        $browser = /\batob\s*\(/
        $python = "b64decode"
        $php = /\bbase64_decode\s*\(/ nocase
        $certutil = /certutil(\.exe)?\s[^\r\n]{0,40}-decode/ nocase
        $vba = "bin.base64" nocase
    condition:
        $program and any of ($powershell, $browser, $python, $php, $certutil, $vba)
}
