"use strict";
// The state of the page is in the address after the #, so that a view can be sent to somebody.

Page.address = (() => {
  const read = () => new URLSearchParams(location.hash.slice(1));

  // An address of a view. Fields that are null or "" are left out; a list gives a field several times.
  function link(view, fields = {}) {
    const params = new URLSearchParams({ view });
    for (const [name, value] of Object.entries(fields)) {
      for (const each of [value].flat()) {
        if (each !== null && each !== undefined && each !== "") params.append(name, each);
      }
    }
    return `#${params}`;
  }

  // The present address with some fields changed; null removes one.
  function changed(fields) {
    const params = read();
    for (const [name, value] of Object.entries(fields)) {
      params.delete(name);
      for (const each of [value].flat()) {
        if (each !== null && each !== "" && each !== false)
          params.append(name, each === true ? "1" : each);
      }
    }
    return `#${params}`;
  }

  // Go there; `typing` replaces the present entry of the history, as each key would make one.
  function go(hash, typing = false) {
    if (!typing) {
      location.hash = hash;
      return;
    }
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }

  return { read, link, changed, go };
})();
