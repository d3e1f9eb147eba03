"""The report's style sheet: light and dark, readable in print and on a phone."""

STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--ink:#1c1d1f;--soft:#6b6f76;--rule:#e2e3e5;--card:#fff;
--c0:#8a8f98;--c1:#2563b8;--c2:#c77700;--c3:#c0392b;--good:#1d7a46}
@media (prefers-color-scheme:dark){:root{--page:#16181b;--ink:#e8e9ea;--soft:#9aa0a8;--rule:#303338;--card:#1e2125;
--c0:#8a8f98;--c1:#6ea8fe;--c2:#f0a93b;--c3:#ff7a6b;--good:#58c98a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px 64px}
header{border-left:6px solid var(--good);padding:2px 0 2px 18px;margin:12px 0 28px}
header.failed{border-color:var(--c3)}
h1{font-size:30px;line-height:1.2;margin:0 0 6px}
h2{font-size:18px;margin:36px 0 10px}
header p{margin:0;color:var(--soft)}
.verdict{text-transform:uppercase;letter-spacing:.08em;font-size:13px;font-weight:700;color:var(--good)!important}
.failed .verdict{color:var(--c3)!important}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 8px;border-bottom:1px solid var(--rule);white-space:nowrap}
thead th{white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;white-space:normal}
th{font-weight:600;color:var(--soft);font-size:13px}
.met{color:var(--good)}.missed{color:var(--c3)}
figure{margin:0 0 20px;padding:14px 16px;background:var(--card);border:1px solid var(--rule);border-radius:8px;
overflow-x:auto}
figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;min-width:520px;height:auto}
svg text{font-size:11px;fill:var(--soft)}
svg .axis{font-size:10px}
svg .grid{stroke:var(--rule);fill:none}
svg .limit{stroke:var(--ink);stroke-dasharray:2 4;fill:none}
svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
svg .dashed{stroke-dasharray:5 4}
svg .c0{stroke:var(--c0)}svg .c1{stroke:var(--c1)}svg .c2{stroke:var(--c2)}svg .c3{stroke:var(--c3)}
svg .marks.c1{fill:var(--c1)}svg .marks.c3{fill:var(--c3)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft);margin-top:6px}
.legend span::before{content:"";display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle;
background:currentColor}
.legend .c0::before{background:var(--c0)}.legend .c1::before{background:var(--c1)}
.legend .c2::before{background:var(--c2)}.legend .c3::before{background:var(--c3)}
.legend .limit::before{background:var(--ink)}
@media print{body{background:#fff}figure{break-inside:avoid}}
""".replace("\n", "")
