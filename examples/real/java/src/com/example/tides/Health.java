package com.example.tides;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URL;

/** Asks the server how it is; the exit status says. */
public final class Health {
    public static void main(String[] arguments) {
        try {
            var url = new URL("http://127.0.0.1:" + System.getenv("PORT") + "/healthz");
            System.exit(((HttpURLConnection) url.openConnection()).getResponseCode() == 200 ? 0 : 1);
        } catch (IOException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }

    private Health() {}
}
