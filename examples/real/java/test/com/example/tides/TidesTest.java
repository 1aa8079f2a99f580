package com.example.tides;

import java.time.Instant;

public final class TidesTest {
    public static void main(String[] arguments) {
        Instant high = Instant.parse("2024-01-01T03:00:00Z");
        Tides tides = new Tides(high);
        assert tides.next(high).equals(high);
        assert tides.next(high.plusSeconds(1)).equals(Instant.parse("2024-01-01T15:25:14Z"));
        assert tides.next(high.minusSeconds(1)).equals(high);
    }
}
