// Web shells: a page that runs what its visitor says. Written for Menshen; used by `scanner.backend: builtin` where
// `scanner.rules` names no folder of your own.

rule WebShell_PHP_Runs_Request
{
    meta:
        description = "PHP that hands a request's own words to an interpreter or a shell"
    strings:
        $open = "<?"
        $run = /\b(eval|assert|create_function|system|shell_exec|passthru|exec|popen|proc_open|pcntl_exec)\s*\(\s*(@|base64_decode\s*\(|stripslashes\s*\(|urldecode\s*\(|str_rot13\s*\(|gzinflate\s*\(|trim\s*\(|["']\s*\.?\s*)*\s*\$_(GET|POST|REQUEST|COOKIE|SERVER|FILES)\b/ nocase
        $backtick = /`\s*(\{\s*)?\$_(GET|POST|REQUEST|COOKIE)\s*\[[^`\r\n]{1,60}`/
    condition:
        $open and ($run or $backtick)
}

rule WebShell_PHP_Runs_Input_Stream
{
    meta:
        description = "PHP that runs the body of the request"
    strings:
        $open = "<?"
        $run = /\b(eval|assert|system|shell_exec|passthru|exec)\s*\(\s*(@|base64_decode\s*\(|gzinflate\s*\(|str_rot13\s*\()*\s*file_get_contents\s*\(\s*["']php:\/\/input["']/ nocase
    condition:
        all of them
}

rule WebShell_PHP_Packed
{
    meta:
        description = "PHP that unpacks itself and runs what comes out"
    strings:
        $open = "<?"
        $run = /\b(eval|assert)\s*\(\s*(@|["']\?>["']\s*\.\s*)*(gzinflate|gzuncompress|gzdecode|str_rot13|base64_decode|strrev|convert_uudecode|hex2bin|rawurldecode)\s*\(/ nocase
    condition:
        all of them
}

rule WebShell_PHP_Named_By_Request
{
    meta:
        description = "PHP that calls the function whose name the request gives, with what the request gives"
    strings:
        $open = "<?"
        $call = /\$_(GET|POST|REQUEST|COOKIE)\s*[\[\{][^\]\}\r\n]{1,40}[\]\}]\s*\(\s*@?\s*\$_(GET|POST|REQUEST|COOKIE)\b/
        $user = /\bcall_user_func(_array)?\s*\(\s*@?\s*\$_(GET|POST|REQUEST|COOKIE)\b/ nocase
        $map = /\barray_(map|filter|walk)\s*\(\s*@?\s*\$_(GET|POST|REQUEST|COOKIE)\s*\[/ nocase
    condition:
        $open and any of ($call, $user, $map)
}

rule WebShell_PHP_Regex_Runs
{
    meta:
        description = "PHP that has a replacement run as code, by the old e modifier"
    strings:
        $open = "<?"
        $run = /\bpreg_replace\s*\(\s*(["'])[^"'\r\n]{1,60}\/[imsxuADSUXJ]*e[imsxuADSUXJ]*["']\s*,\s*[^;\r\n]{0,60}\$_(GET|POST|REQUEST|COOKIE)\b/ nocase
    condition:
        all of them
}

rule WebShell_PHP_Known
{
    meta:
        description = "Names and marks that widely used PHP shells carry"
    strings:
        $open = "<?"
        $b374k = "b374k" nocase
        $c99 = "c99shell" nocase
        $r57 = "r57shell" nocase
        $files_man = "'FilesMan'"
        $files_man_too = "\"FilesMan\""
        $weevely = /\$[a-z]{1,3}="[^"]{20,}";\s*\$[a-z]{1,3}=str_replace\("[^"]{1,10}","","/
        $antichat = "Antichat Shell" nocase
    condition:
        $open and any of ($b374k, $c99, $r57, $files_man*, $weevely, $antichat)
}

rule WebShell_JSP_Runs_Request
{
    meta:
        description = "A Java page that starts a program that the request names"
    strings:
        $open = "<%"
        $tag = "<jsp:" nocase
        $parameter = /request\s*\.\s*get(Parameter|Header|QueryString|InputStream|Reader)\s*\(/
        $exec = /getRuntime\s*\(\s*\)\s*\.\s*exec\s*\(/
        $builder = /new\s+(java\.lang\.)?ProcessBuilder\s*\(/
    condition:
        ($open or $tag) and $parameter and ($exec or $builder)
}

rule WebShell_JSP_Loads_Class
{
    meta:
        description = "A Java page that makes a class out of the request, as Behinder and Godzilla do"
    strings:
        $open = "<%"
        $tag = "<jsp:" nocase
        $define = "defineClass"
        $loader = "ClassLoader"
        $cipher = /Cipher\s*\.\s*getInstance\s*\(/
        $decode = /(decodeBuffer|BASE64Decoder|Base64\s*\.\s*getDecoder|base64Decode)/
        $request = /request\s*\.\s*(getReader|getParameter|getInputStream)\s*\(/
    condition:
        ($open or $tag) and $define and $loader and $request and ($cipher or $decode)
}

rule WebShell_ASP_Runs_Request
{
    meta:
        description = "A classic ASP page that runs a request's own words"
    strings:
        $open = "<%"
        $script = /<script[^>]{1,80}runat\s*=\s*["']?server/ nocase
        $run = /\b(eval|execute|executeglobal)\s*\(?\s*\(?\s*request(\.(item|form|querystring|cookies))?\s*[\(\[]/ nocase
    condition:
        ($open or $script) and $run
}

rule WebShell_ASPX_Starts_Program
{
    meta:
        description = "An ASP.NET page that starts a program that the request names"
    strings:
        $page = /<%@\s*(Page|WebHandler|WebService)\b/ nocase
        $start = /(ProcessStartInfo|Process\s*\.\s*Start\s*\()/
        $request = /\bRequest\s*(\.\s*(Form|QueryString|Params|Headers|Cookies|Item))?\s*\[/
        $shell = /cmd(\.exe)?["'\s]/ nocase
        $field = /\.Text\b/
    condition:
        $page and $start and ($request or ($shell and $field))
}

rule WebShell_ASPX_Runs_Assembly
{
    meta:
        description = "An ASP.NET page that loads an assembly out of the request, as Behinder and Godzilla do"
    strings:
        $page = /<%@\s*(Page|WebHandler|WebService)\b/ nocase
        $load = /Assembly\s*"?\s*\)?\s*\.?\s*(GetMethod\s*\(\s*"Load"|Load\s*\()/
        $read = /Request\s*\.\s*(BinaryRead|InputStream|Form)/
        $cipher = /(RijndaelManaged|AesManaged|Aes\s*\.\s*Create|FromBase64String)/
    condition:
        all of them
}

rule WebShell_Python_Runs_Request
{
    meta:
        description = "A Python page that starts a program that the request names"
    strings:
        $run = /\b(os\.(system|popen)|subprocess\.(Popen|call|run|check_output|getoutput)|eval|exec)\s*\(\s*(str\s*\(\s*)?(request\.(args|form|values|json|GET|POST|data|cookies|headers)|(form|fs|field_?storage)\.getvalue\s*\()/ nocase
    condition:
        $run
}
