// entered.js: keeps the session's second secret where only pages of this very address see it
// (cookies are shown to every port of a host), and goes on.
"use strict";
localStorage.setItem("cai-session", document.querySelector("meta[name=session]").content);
location.replace(location.hash === "#review" ? "/review" : "/");
